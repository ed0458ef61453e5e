//! Other people's clients, unchanged, against our broker: our own client would agree with our own
//! mistakes. Each suite installs itself from its registry into `target/clients/` and runs as a
//! process with the broker's addresses in its environment (`AMQP_URL`, `AMQP_HOST`, `AMQP_PORT`,
//! `MQTT_HOST`, `MQTT_PORT`).
//!
//! A tool that is missing skips its suites and says so; with `CI=true` it fails them.
//! `RINGMQ_TEST_ADDRESS=host:port BROKER=rabbitmq` runs the same suites against RabbitMQ.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "processes are waited for on a clock of their own, not on a shard's"
)]

#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "shared with the behaviour tests, which use more of it"
)]
#[path = "../behaviour/support/broker.rs"]
mod broker;
mod install;
mod papers;
mod suite;

use broker::{Broker, Options, Placement};
use papers::Papers;
use suite::Suite;

/// pika: everything in `python/` that is not another library's.
fn pika(broker: &Broker) {
    let Some(python) = install::python() else { return };
    Suite::new("pika", &python)
        .args([
            "-m",
            "pytest",
            "--ignore=test_aio_pika.py",
            "--ignore=test_kombu.py",
            "--ignore=test_mqtt.py",
            "--ignore=test_gmqtt.py",
            "--ignore=test_tls.py",
            "--ignore=test_http.py",
            "--ignore=test_rabbitmqadmin.py",
        ])
        .directory(install::source("python"))
        .limit_s(300)
        .run(broker);
}

/// aio-pika, kombu and a Celery worker.
fn python_frameworks(broker: &Broker) {
    let Some(python) = install::python() else { return };
    Suite::new("aio-pika, kombu, Celery", &python)
        .args(["-m", "pytest", "test_aio_pika.py", "test_kombu.py"])
        .directory(install::source("python"))
        .limit_s(180)
        .run(broker);
}

/// amqplib of Node.
fn amqplib(broker: &Broker) {
    let Some(directory) = install::node() else { return };
    Suite::new("amqplib", "node")
        .args(["--test", "channel.test.mjs", "confirm.test.mjs"])
        .directory(directory)
        .limit_s(180)
        .run(broker);
}

/// paho-mqtt of Python.
fn paho(broker: &Broker) {
    let Some(python) = install::python() else { return };
    Suite::new("paho-mqtt", &python)
        .args(["-m", "pytest", "--noconftest", "test_mqtt.py"])
        .directory(install::source("python"))
        .limit_s(180)
        .run(broker);
}

/// gmqtt of Python.
fn gmqtt(broker: &Broker) {
    let Some(python) = install::python() else { return };
    Suite::new("gmqtt", &python)
        .args(["-m", "pytest", "--noconftest", "test_gmqtt.py"])
        .directory(install::source("python"))
        .limit_s(180)
        .run(broker);
}

/// Prometheus' own parser, and Python's HTTP.
fn http(broker: &Broker) {
    let Some(python) = install::python() else { return };
    Suite::new("HTTP API", &python)
        .args(["-m", "pytest", "--noconftest", "test_http.py"])
        .directory(install::source("python"))
        .limit_s(180)
        .run(broker);
}

/// RabbitMQ's `rabbitmqadmin`.
fn rabbitmqadmin(broker: &Broker) {
    let (Some(python), Some(script)) = (install::python(), install::rabbitmqadmin()) else {
        return;
    };
    Suite::new("rabbitmqadmin", &python)
        .args(["-m", "pytest", "--noconftest", "test_rabbitmqadmin.py"])
        .directory(install::source("python"))
        .file("RABBITMQADMIN", script)
        .limit_s(240)
        .run(broker);
}

/// RabbitMQ's HTTP client of Rust.
fn rabbitmq_http_client(broker: &Broker) {
    let Some(suite) = install::http_client() else { return };
    Suite::new("rabbitmq_http_client", suite).limit_s(120).run(broker);
}

/// rumqttc of Rust.
fn rumqttc(broker: &Broker) {
    let Some(suite) = install::rust() else { return };
    Suite::new("rumqttc", suite).limit_s(180).run(broker);
}

/// MQTT.js of Node.
fn mqtt_js(broker: &Broker) {
    let Some(directory) = install::node() else { return };
    Suite::new("MQTT.js", "node")
        .args(["--test", "mqtt.test.mjs"])
        .directory(directory)
        .limit_s(180)
        .run(broker);
}

/// mosquitto_pub and mosquitto_sub of the system, as a shell uses them.
fn mosquitto(broker: &Broker) {
    let Some(script) = install::mosquitto() else { return };
    Suite::new("mosquitto_pub", "bash").args(["mosquitto.sh"]).directory(script).run(broker);
}

/// RabbitMQ's own client for Go.
fn amqp091_go(broker: &Broker) {
    let Some(suite) = install::go() else { return };
    Suite::new("amqp091-go", suite).args(["-test.v=false"]).limit_s(240).run(broker);
}

/// One test for each suite and set-up; each has a broker of its own, so that what one leaves
/// behind is not another's puzzle.
macro_rules! on_two_setups {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use super::{Broker, Options, Placement};

            #[test]
            fn with_two_shards() {
                super::$name(&Broker::start(2));
            }

            #[test]
            fn with_queues_apart() {
                let placement = Placement::Apart;
                super::$name(&Broker::with(Options { placement, ..Options::default() }));
            }
        }
    )+ };
}

on_two_setups!(
    pika,
    python_frameworks,
    amqplib,
    amqp091_go,
    paho,
    gmqtt,
    http,
    rabbitmqadmin,
    rabbitmq_http_client,
    rumqttc,
    mqtt_js,
    mosquitto
);

/// pika, paho-mqtt, amqplib and MQTT.js over TLS, with and without certificates of their own.
#[test]
fn clients_over_tls() {
    let papers = Papers::new();
    let broker = Broker::with(Options { config: &papers.config(), ..Options::default() });
    if let Some(python) = install::python() {
        Suite::new("pika and paho-mqtt over TLS", &python)
            .args(["-m", "pytest", "--noconftest", "test_tls.py"])
            .directory(install::source("python"))
            .papers(papers.directory.clone())
            .limit_s(180)
            .run(&broker);
    }
    if let Some(directory) = install::node() {
        Suite::new("MQTT.js and amqplib over TLS", "node")
            .args(["--test", "tls.test.mjs"])
            .directory(directory)
            .papers(papers.directory.clone())
            .limit_s(180)
            .run(&broker);
    }
}

//! Tests of section `[mqtt]`: defaults, how its values are written, files of others.

use super::*;
use crate::config::{Config, Loaded, Start, load};

#[expect(clippy::unwrap_in_result, reason = "the file is the test's own")]
fn loaded(name: &str, text: &str) -> Result<Loaded, String> {
    let path = std::env::temp_dir().join(format!("ringmq-{}-{name}.ini", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let start = load(["ringmq".into(), "-c".into(), path.clone().into_os_string()], []);
    std::fs::remove_file(&path).unwrap();
    match start {
        Ok(Start::Run(loaded)) => Ok(*loaded),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string().replace(&*path.to_string_lossy(), "x.ini")),
    }
}

/// One line of the section.
fn with(name: &str, line: &str) -> Result<Mqtt, String> {
    loaded(name, &format!("[mqtt]\n{line}\n")).map(|loaded| loaded.config.mqtt)
}

/// mqtt.md 1.2, 2.6
#[test]
fn the_defaults_are_those_of_vernemq_but_for_the_few_that_say_why_not() {
    let mqtt = Config::default().mqtt;
    assert_eq!((mqtt.port, mqtt.ws_port, mqtt.unix_path.clone()), (Some(1883), None, None));
    assert!(mqtt.bind[0].is_loopback() && !mqtt.allow_anonymous && mqtt.permission_check_enabled);
    assert_eq!((mqtt.inflight_messages_max, mqtt.receive_max_client), (20, 65_535));
    assert_eq!((mqtt.online_messages_max, mqtt.offline_messages_max), (Some(1000), Some(1000)));
    assert_eq!((mqtt.persistent_client_expiration_s, mqtt.last_will_delay_max_s), (None, None));
    assert_eq!((mqtt.connect_timeout_ms, mqtt.packet_bytes_max), (5000, 268_435_455));
    assert_eq!(
        (mqtt.retry_interval_s, mqtt.client_id_bytes_max, mqtt.topic_depth_max),
        (0, 100, 128)
    );
    assert_eq!(mqtt.allowed_protocol_versions, Versions::ALL);
    assert_eq!((mqtt.password_reload_interval_s, mqtt.acl_reload_interval_s), (10, 10));
    assert!(mqtt.coordinate_registrations && !mqtt.allow_multiple_sessions);
}

#[test]
fn periods_limits_ports_and_words_are_read() {
    for (text, seconds) in [
        ("never", None),
        ("90", Some(90)),
        ("90s", Some(90)),
        ("1h", Some(3600)),
        ("2d", Some(172_800)),
        ("1w", Some(604_800)),
        ("1m", Some(2_592_000)),
        ("1y", Some(31_536_000)),
    ] {
        let mqtt = with("period", &format!("persistent_client_expiration = {text}")).unwrap();
        assert_eq!(mqtt.persistent_client_expiration_s, seconds, "{text}");
    }
    let mqtt = with("limits", "max_online_messages = -1\nmax_offline_messages = 0").unwrap();
    assert_eq!((mqtt.online_messages_max, mqtt.offline_messages_max), (None, Some(0)));
    for (text, port) in [("off", None), ("-1", None), ("0", Some(0)), ("8080", Some(8080))] {
        assert_eq!(with("port", &format!("ws_port = {text}")).unwrap().ws_port, port);
    }
    let mqtt = with(
        "words",
        "queue_type = lifo\nqueue_deliver_mode = balance\nshared_subscription_policy = random\n\
         topic_translation = escaped\nmountpoint = plant\nmax_connections = infinity\n\
         max_last_will_delay = client\nallowed_protocol_versions = [3, 4]",
    )
    .unwrap();
    assert_eq!(
        (mqtt.queue_type, mqtt.queue_deliver_mode),
        (QueueOrder::Lifo, DeliverMode::Balance)
    );
    assert_eq!(mqtt.shared_subscription_policy, SharedPolicy::Random);
    assert_eq!(mqtt.topic_translation, TopicTranslation::Escaped);
    assert_eq!((mqtt.mountpoint.as_deref(), mqtt.max_connections), (Some("plant"), 0));
    let spoken = [3, 4, 5, 131, 132, 6, 0].map(|v| mqtt.allowed_protocol_versions.contains(v));
    assert_eq!(spoken, [true, true, false, false, false, false, false]);
}

#[test]
fn a_bad_value_stops_the_start_with_its_line() {
    for (line, reason) in [
        ("port = 65536", "mqtt.port: '65536' is out of bounds (0 to 65535)"),
        (
            "persistent_client_expiration = 1x",
            "mqtt.persistent_client_expiration: '1x' is neither never nor a number with \
             s, h, d, w, m or y",
        ),
        (
            "max_session_expiry_interval = 999999999999y",
            "mqtt.max_session_expiry_interval: '999999999999y' is neither never nor a number with \
             s, h, d, w, m or y",
        ),
        ("max_online_messages = -2", "mqtt.max_online_messages: '-2' is not a whole number"),
        ("queue_type = random", "mqtt.queue_type: 'random' is none of fifo, lifo"),
        (
            "allowed_protocol_versions = 3,6",
            "mqtt.allowed_protocol_versions: '3,6' is not a list of 3, 4, 5, 131 and 132",
        ),
        ("ws_path = mqtt", "mqtt.ws_path: 'mqtt' is not a path such as /mqtt"),
        ("receive_max_client = 0", "mqtt.receive_max_client: '0' is out of bounds (1 to 65535)"),
        ("listener.tcp.a = x", "mqtt.listener.tcp.a: 'x' is neither ip:port nor local:/path:0"),
        ("max_qos = 3", "mqtt.max_qos: '3' is out of bounds (0 to 2)"),
        (
            "max_packet_size = 19",
            "mqtt.max_packet_size: '19' is out of bounds (20 to 268435455 bytes)",
        ),
        ("max_quality = 1", "there is no setting 'max_quality' in [mqtt]"),
    ] {
        assert_eq!(with("bad", line).unwrap_err(), format!("x.ini:2: {reason}"));
    }
    let reason = with("alone", "listener.tcp.a.mountpoint = x").unwrap_err();
    assert_eq!(reason, "settings: mqtt.listener.tcp.a has options and no address");
}

/// mqtt.md V-090
#[test]
fn all_listeners_together_are_the_usual_ones_and_the_named_ones() {
    let names = |lines: &str| {
        let mqtt = with("listeners", lines).unwrap();
        mqtt.listeners().iter().map(|l| l.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["mqtt"]);
    assert_eq!(names("port = off"), [""; 0]);
    let all = names("ws_port = 8080\nunix_path = /run/m\nlistener.tcp.b = 127.0.0.1:1884");
    assert_eq!(all, ["mqtt", "mqtt-ws", "mqtt-unix", "listener.tcp.b"]);
    for taken in ["127.0.0.1:1883", "0.0.0.0:1883", "[::]:1883"] {
        let all = names(&format!("listener.tcp.default = {taken}"));
        assert_eq!(all, ["listener.tcp.default"], "{taken}");
    }
    assert_eq!(names("listener.tcp.c = 192.0.2.1:1883"), ["mqtt", "listener.tcp.c"]);
    let both = names("port = 0\nlistener.tcp.d = 127.0.0.1:0");
    assert_eq!(both, ["mqtt", "listener.tcp.d"], "any two free ports are different ones");
}

/// As VerneMQ's guide writes it, in our section.
#[test]
fn the_keys_of_a_vernemq_conf_start_this_broker() {
    let text = "[mqtt]\nallow_anonymous = off\nmax_client_id_size = 23\nretry_interval = 20\n\
                max_inflight_messages = 20\nmax_offline_messages = 1000\nmax_online_messages = 1000\n\
                upgrade_outgoing_qos = off\nallow_multiple_sessions = off\n\
                listener.max_connections = 10000\nlistener.nr_of_acceptors = 10\n\
                listener.tcp.default = 127.0.0.1:1883\nlistener.ws.default = 127.0.0.1:8888\n\
                listener.tcp.allowed_protocol_versions = 3,4,5\nlistener.mountpoint = off\n\
                listener.vmq.clustering = 0.0.0.0:44053\nplugins.vmq_passwd = on\n";
    let loaded = loaded("vernemq", text).unwrap();
    let mqtt = loaded.config.mqtt;
    assert_eq!((mqtt.client_id_bytes_max, mqtt.retry_interval_s), (23, 20));
    let shown: Vec<_> = mqtt.listeners().iter().map(|l| (l.transport, l.max_connections)).collect();
    assert_eq!(shown, [(Transport::Tcp, 10_000), (Transport::Ws, 10_000)]);
    let note = "settings not used yet: mqtt.listener.nr_of_acceptors, mqtt.listener.vmq.clustering, \
                mqtt.plugins.vmq_passwd";
    assert_eq!(loaded.notes, [note]);
}

/// mqtt.md V-011: a dot is written as two underscores.
#[test]
fn keys_with_dots_can_be_said_in_the_environment() {
    let name = "RINGMQ_MQTT_VMQ_ACL__ACL_FILE";
    let start = load(["ringmq"], [(name.into(), "/etc/acl".into())]).unwrap();
    let Start::Run(loaded) = start else { panic!("no start") };
    assert_eq!(loaded.config.mqtt.acl_file, Some("/etc/acl".into()));
    let setting = crate::config::SETTINGS.iter().find(|s| s.key == "vmq_acl.acl_file").unwrap();
    assert_eq!(setting.env(), name);
}

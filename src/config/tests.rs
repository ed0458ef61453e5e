//! Tests of `config::load`: precedence, names of LavinMQ, and what stops the start.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::*;
use crate::config::{KeepAlive, LogLevel, MemoryLimit};

fn environment(env: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    env.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()
}

/// As `load`, with the text of a file called `x.ini` instead of a path.
fn load_with(args: &[&str], env: &[(&str, &str)], text: &str) -> Result<Loaded, ConfigError> {
    let mut all = vec!["ringmq"];
    all.extend(args);
    let Asked::Run(command_line) = command_line::parse(all)? else { panic!("no start") };
    let env = Environment::new(environment(env));
    let mut loading = Loading::default();
    loading.service_manager(&env)?;
    loading.file(Path::new("x.ini"), text)?;
    loading.environment(&env)?;
    loading.command_line(&command_line)?;
    loading.listeners()?;
    check(&loading.config)?;
    Ok(loading.finish(Some("x.ini".into())))
}

fn ini(text: &str) -> Result<Loaded, ConfigError> {
    load_with(&[], &[], text)
}

fn refusal(text: &str) -> String {
    ini(text).unwrap_err().to_string()
}

/// S4, S19, S20, S25, S26, S38
#[test]
fn without_anything_the_defaults_are_those_of_lavinmq_and_ours() {
    let Start::Run(loaded) = load(["ringmq"], environment(&[])).unwrap() else { panic!() };
    let Config { main, amqp, mqtt: _, mgmt: _ } = loaded.config;
    assert_eq!(main.data_dir, PathBuf::from("./data"));
    assert_eq!((main.shards, main.pin, main.groups), (0, true, 256));
    assert_eq!(main.max_memory, MemoryLimit::Percent(40));
    assert_eq!((main.consumer_timeout_ms, main.default_consumer_prefetch), (None, 65_535));
    assert_eq!(main.tcp_keepalive, Some(KeepAlive { idle_s: 60, interval_s: 10, probes: 3 }));
    assert_eq!((main.tcp_recv_buffer_bytes, main.tcp_send_buffer_bytes), (None, None));
    assert_eq!(
        (main.segment_bytes, main.free_disk_min_bytes, main.free_disk_warn_bytes),
        (8 << 20, 0, 0)
    );
    assert_eq!((amqp.bind, amqp.port), (vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 5672));
    assert_eq!((amqp.heartbeat_s, amqp.frame_max_bytes), (300, 131_072));
    assert_eq!((amqp.channel_max, amqp.message_bytes_max), (2047, 134_217_728));
    assert_eq!((loaded.notes, loaded.file), (vec![], None));
}

#[test]
fn every_declared_default_is_within_its_own_bounds_and_every_name_is_unique() {
    let mut names = std::collections::BTreeSet::new();
    for setting in SETTINGS {
        assert_eq!(setting.apply(&mut Config::blank(), setting.default), Ok(()));
        assert!(names.insert(setting.name()), "{} is declared twice", setting.name());
        assert!(foreign::is_section(setting.section));
        assert!(!foreign::is_not_used(setting.section, setting.key), "{}", setting.name());
        assert!(setting.about.ends_with('.'), "{}: a sentence", setting.name());
    }
}

#[test]
fn command_line_beats_environment_beats_file_beats_default() {
    let file = "[amqp]\nport = 1\nheartbeat = 1\nchannel_max = 1\n";
    let env = [("RINGMQ_AMQP_PORT", "2"), ("RINGMQ_AMQP_HEARTBEAT", "2")];
    let amqp = load_with(&["-p", "3"], &env, file).unwrap().config.amqp;
    assert_eq!((amqp.port, amqp.heartbeat_s, amqp.channel_max), (3, 2, 1));
    assert_eq!(amqp.frame_max_bytes, 131_072);
}

#[test]
fn variables_of_lavinmq_count_unless_ours_is_set_and_empty_ones_count_as_unset() {
    let env = [("LAVINMQ_AMQP_BIND", "::1"), ("LAVINMQ_AMQP_PORT", "2"), ("RINGMQ_AMQP_PORT", "3")];
    let amqp = load_with(&[], &env, "").unwrap().config.amqp;
    assert_eq!((amqp.bind[0].to_string().as_str(), amqp.port), ("::1", 3));
    let env = [("LAVINMQ_AMQP_PORT", "2"), ("RINGMQ_AMQP_PORT", "")];
    assert_eq!(load_with(&[], &env, "").unwrap().config.amqp.port, 2);
}

/// systemd's folder replaces the default only.
#[test]
fn the_service_managers_folder_is_weaker_than_the_file() {
    let env = [("STATE_DIRECTORY", "/var/lib/ringmq:/other")];
    let data_dir = |text| load_with(&[], &env, text).unwrap().config.main.data_dir;
    assert_eq!(data_dir(""), PathBuf::from("/var/lib/ringmq"));
    assert_eq!(data_dir("[main]\ndata_dir = /srv/mq"), PathBuf::from("/srv/mq"));
}

#[test]
fn every_flag_sets_its_setting() {
    let args = ["-D", "/d", "-b", "::", "-p", "0", "-l", "debug", "--shards", "2", "--no-pin"];
    let Config { main, amqp, mqtt, mgmt: _ } = load_with(&args, &[], "").unwrap().config;
    assert_eq!(mqtt.bind[0].to_string(), "::");
    assert_eq!(main.data_dir, PathBuf::from("/d"));
    assert_eq!((main.log_level, main.shards, main.pin), (LogLevel::Debug, 2, false));
    assert_eq!((amqp.bind[0].to_string().as_str(), amqp.port), ("::", 0));
    let long = [
        "--data-dir=/e",
        "--bind=::1",
        "--amqp-port=1",
        "--log-level=warn",
        "--mqtt-bind=::2",
        "--mqtt-port=0",
    ];
    let Config { main, amqp, mqtt, mgmt: _ } = load_with(&long, &[], "").unwrap().config;
    assert_eq!((mqtt.bind[0].to_string().as_str(), mqtt.port), ("::2", Some(0)));
    assert_eq!((main.data_dir, main.log_level), (PathBuf::from("/e"), LogLevel::Warn));
    assert_eq!((amqp.bind[0].to_string().as_str(), amqp.port), ("::1", 1));
}

/// The file that LavinMQ's packages install, in its own words, and more of its keys.
#[test]
fn an_existing_lavinmq_ini_starts_this_broker_and_one_line_says_what_is_not_used() {
    let loaded = load_with(
        &["--mqtt-port", "1884", "--http-port", "1"],
        &[("LAVINMQ_TLS_CERT_PATH", "/c"), ("RINGMQ_MGMT_PORT", "1")],
        "[main]\ndata_dir = /var/lib/lavinmq\nlog_level = info\ntls_cert = /etc/cert.pem\n\
         segment_size = 16M\n[mgmt]\nbind = ::\n[amqp]\nbind = ::\ntls_port = 5672\n\
         [mqtt]\nbind = ::\n[clustering]\nenabled = false\n[sni:a.example]\namqp_tls_cert = x\n",
    )
    .unwrap();
    assert_eq!(loaded.config.amqp.bind[0].to_string(), "::");
    assert_eq!(loaded.config.mqtt.bind[0].to_string(), "::");
    assert_eq!(loaded.config.mqtt.port, Some(1884));
    let mgmt = &loaded.config.mgmt;
    assert_eq!((mgmt.bind[0].to_string().as_str(), mgmt.port), ("::", Some(1)));
    assert_eq!(loaded.config.main.segment_bytes, 16 << 20);
    let tls = loaded.config.amqp.tls.unwrap();
    assert_eq!(
        (loaded.config.amqp.tls_port, tls.usual.certificate.as_os_str()),
        (Some(5672), "/c".as_ref())
    );
    assert_eq!(tls.hosts.len(), 1);
    assert!(
        loaded
            .config
            .mqtt
            .listeners()
            .iter()
            .any(|l| l.tls.as_ref().is_some_and(|tls| tls.hosts.is_empty()))
    );
    let line = "settings not used yet: clustering.enabled";
    assert_eq!(loaded.notes, [line]);
}

#[test]
fn storage_is_set_up_in_the_file() {
    let config = ini("[main]\ndurability = interval:50\ndurability_vhosts = test=os, a b=sync\n\
         log_file_size = 16M\nlog_size_max = 100M\nqueue_memory_max = 0\n")
    .unwrap()
    .config;
    let main = config.main;
    let promised = ["test", "a b", "/"].map(|vhost| main.durability_of(vhost).to_string());
    assert_eq!(promised, ["os", "sync", "interval:50"]);
    assert_eq!((main.log_files_max(), main.queue_memory_bytes_max), (6, 0));
    let main = ini("[main]\nlog_file_size = 1G\n").unwrap().config.main;
    assert_eq!((main.log_files_max(), main.durability.to_string().as_str()), (2, "sync"));
    for bad in ["durability = fsync", "durability_vhosts = os", "log_file_size = 1k"] {
        assert!(ini(&format!("[main]\n{bad}\n")).is_err(), "{bad}");
    }
}

/// L106
#[test]
fn old_names_mean_their_new_ones_and_are_reported() {
    let loaded = ini("[amqp]\nconsumer_timeout = 5000\n[main]\nguest_only_loopback = no\n\
                      [http]\nport = 1\n")
    .unwrap();
    assert_eq!(loaded.config.main.consumer_timeout_ms, Some(5000));
    assert!(!loaded.config.main.default_user_only_loopback);
    let notes = [
        "[amqp] consumer_timeout is an old name; it is now [main] consumer_timeout",
        "[main] guest_only_loopback is an old name; it is now [main] default_user_only_loopback",
        "[http] port is an old name; it is now [mgmt] port",
    ];
    assert_eq!(loaded.notes, notes);
}

#[test]
fn unknown_sections_and_keys_stop_the_start_with_file_and_line() {
    assert_eq!(refusal("[main]\n\nprot = 1"), "x.ini:3: there is no setting 'prot' in [main]");
    assert_eq!(refusal("[amq]\nport = 1"), "x.ini:2: there is no section [amq]");
    assert_eq!(refusal("[sni:a]\nport = 1"), "x.ini:2: there is no setting 'port' in [sni:a]");
    assert_eq!(refusal("[main"), "x.ini:1: a section ends with ']'");
}

#[test]
fn bad_values_stop_the_start_with_the_reason() {
    for (text, reason) in [
        ("[amqp]\nport = x", "amqp.port: 'x' is not a whole number"),
        ("[amqp]\nport = 65536", "amqp.port: '65536' is out of bounds (0 to 65535)"),
        (
            "[amqp]\nframe_max = 1k",
            "amqp.frame_max: '1k' is out of bounds (4096 to 16777216 bytes)",
        ),
        ("[amqp]\nbind = example.org", "amqp.bind: 'example.org' is not an IPv4 or IPv6 address"),
        ("[main]\ndata_dir =", "main.data_dir: a path is needed"),
        ("[main]\ndefault_user =", "main.default_user: a user name has 1 to 255 bytes"),
        (
            "[main]\nlog_level = loud",
            "main.log_level: 'loud' is none of off, error, warn, info, debug, trace",
        ),
        ("[main]\nplacement = near", "main.placement: 'near' is neither hash nor apart"),
        ("[main]\npin = perhaps", "main.pin: 'perhaps' is neither true nor false"),
    ] {
        assert_eq!(refusal(text), format!("x.ini:2: {reason}"));
    }
}

#[test]
fn a_plain_password_in_place_of_its_hash_stops_the_start_and_is_not_repeated() {
    let reason = refusal("[main]\ndefault_password = swordfish!");
    assert_eq!(reason, "x.ini:2: main.default_password_hash: the password hash is not base64");
}

#[test]
fn bad_variables_and_arguments_are_named() {
    let env = [("RINGMQ_AMQP_PORT", "tcp://10.0.0.1:5672")];
    assert_eq!(
        load_with(&[], &env, "").unwrap_err().to_string(),
        "environment variable RINGMQ_AMQP_PORT: 'tcp://10.0.0.1:5672' is not a whole number"
    );
    let env = [("RINGMQ_MAIN_COLOUR", "red")];
    assert_eq!(
        load_with(&[], &env, "").unwrap_err().to_string(),
        "environment variable RINGMQ_MAIN_COLOUR: there is no setting 'colour' in [main]"
    );
    assert_eq!(
        load_with(&["-p", "x"], &[], "").unwrap_err().to_string(),
        "command line: --amqp-port: 'x' is not a whole number"
    );
    assert_eq!(
        load_with(&["--prot", "1"], &[], "").unwrap_err().to_string(),
        "command line: unexpected argument '--prot' found (--help lists what is)"
    );
}

/// Kubernetes makes such variables for a service called ringmq.
#[test]
fn variables_that_only_look_like_ours_are_left_alone() {
    let env = [("RINGMQ_PORT", "tcp://10.0.0.1:5672"), ("RINGMQ_SERVICE_HOST", "10.0.0.1")];
    assert_eq!(load_with(&[], &env, "").unwrap().config, Config::default());
}

#[test]
fn more_shards_than_groups_are_refused() {
    assert_eq!(
        refusal("[main]\nshards = 5\ngroups = 4"),
        "settings: main.shards (5) is more than main.groups (4): \
         a shard without a group would have no queue"
    );
}

#[test]
fn a_missing_file_is_named() {
    let start = load(["ringmq", "-c", "no/such.ini"], environment(&[]));
    let reason = start.unwrap_err().to_string();
    assert!(reason.starts_with("no/such.ini: No such file"), "{reason}");
    let start = load(["ringmq"], environment(&[("RINGMQ_CONFIG", "no/such.ini")]));
    assert!(start.is_err());
}

#[test]
fn help_has_examples_and_every_setting_and_version_has_the_version() {
    let printed = |flag| match load(["ringmq", flag], environment(&[])).unwrap() {
        Start::Print(text) => text,
        Start::Run(_) | Start::Check(_) | Start::Passwd(_) => panic!("{flag} starts nothing"),
    };
    let help = printed("--help");
    assert!(help.contains("Examples:"));
    assert!(help.contains("ringmq check"));
    for setting in SETTINGS {
        assert!(help.contains(&setting.name()), "{}", setting.name());
    }
    for flag in ["-D, --data-dir", "-c, --config", "-b, --bind", "-p, --amqp-port", "--mqtt-port"] {
        assert!(help.contains(flag), "{flag}");
    }
    let data_dir = SETTINGS[0];
    assert!(printed("-h").contains(data_dir.about));
    assert_eq!(printed("--version"), concat!("ringmq ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_check_is_of_the_folder_that_a_start_would_use_unless_one_is_named() {
    let asked = |args: &[&str], env: &[(&str, &str)]| {
        let mut all = vec!["ringmq", "check"];
        all.extend(args);
        match load(all, environment(env)) {
            Ok(Start::Check(request)) => request,
            other => panic!("{args:?}: {other:?}"),
        }
    };
    assert_eq!(asked(&[], &[]).data_dir, PathBuf::from("./data"));
    let env = [("RINGMQ_MAIN_DATA_DIR", "/e"), ("RINGMQ_CONFIG", "")];
    assert_eq!(asked(&["--json"], &env).data_dir, PathBuf::from("/e"));
    // Settings may be what is wrong: they are not needed for a folder that is named.
    let wrong = [("RINGMQ_MAIN_DATA_DIR", "/e"), ("RINGMQ_CONFIG", "no/such.ini")];
    let named = asked(&["-D", "/d", "--verbose"], &wrong);
    let request = CheckRequest { data_dir: PathBuf::from("/d"), json: false, verbose: true };
    assert_eq!(named, request);
    assert!(load(["ringmq", "check"], environment(&wrong)).is_err());
}

#[test]
fn a_mistake_in_a_check_is_known_as_one() {
    let args = |args: &[&str]| args.iter().map(OsString::from).collect::<Vec<_>>();
    assert!(load(["ringmq", "check", "--repair"], environment(&[])).is_err());
    assert!(command_line::asks_for_check(args(&["ringmq", "check", "--repair"])));
    assert!(!command_line::asks_for_check(args(&["ringmq", "--repair", "check"])));
    assert!(load(["ringmq", "-D", "x", "check"], environment(&[])).is_err());
}

#[test]
fn the_command_line_is_well_formed() {
    command_line::command().debug_assert();
}

//! The declarations as people read them: the sample file, the table of tuning.md, the long help.
//! The tests below keep `deploy/ringmq.ini` and `tuning.md` the same as these.
//!
//! May import `settings`, `setting` and `foreign`.

use std::fmt::Write as _;

use super::foreign::NOT_USED;
use super::setting::{Change, Setting};
use super::settings::SETTINGS;

fn in_section<'a>(section: &'a str) -> impl Iterator<Item = &'static Setting> + 'a {
    SETTINGS.iter().filter(move |s| s.section == section)
}

const fn change_name(change: Change) -> &'static str {
    match change {
        Change::Restart => "restart",
        Change::Live => "live",
    }
}

/// Keys that the operator names, which therefore have no declaration.
const LISTENERS: &str = "
; Listeners with a name of your own, as many as you like, and what differs from the keys above; the
; most specific line holds. One on the address of bind and port replaces that listener.
;   listener.tcp.NAME = 0.0.0.0:1884 (or [::]:1884, or local:/path/of/socket:0)
;   listener.ws.NAME = 0.0.0.0:8080
;   listener.tcp.NAME.max_connections = 1000
;   listener.tcp.NAME.max_connection_rate = 500 (a second, in the place of main.max_connection_rate)
;   listener.tcp.NAME.max_connection_lifetime = 3600 (seconds)
;   listener.tcp.NAME.allow_anonymous_override = on
;   listener.tcp.NAME.mountpoint = vhost
;   listener.tcp.NAME.proxy_protocol = on (in the place of amqp.tcp_proxy_protocol)
;   listener.tcp.NAME.proxy_protocol_use_cn_as_username = on (the certificate that the proxy has verified)
;   listener.ws.NAME.allowed_protocol_versions = 3,4
;   listener.ws.max_connections = 5000 (of all with WebSocket)
;   listener.mountpoint = vhost (of all with a name)
";

/// For `--help`: one line per setting.
pub(super) fn settings_help() -> String {
    let mut text = String::new();
    for s in SETTINGS {
        let _ = writeln!(text, "  {:<32} {} [{}]", s.name(), s.about, shown_default(s));
    }
    text
}

fn shown_default(setting: &Setting) -> &'static str {
    if setting.default.is_empty() { "none" } else { setting.default }
}

/// The complete sample file: every setting with its default, commented out.
pub fn sample_ini() -> String {
    let mut text = String::from(
        "; Settings of RingMQ with their defaults. Remove the semicolon before a key to change it.\n\
         ; Sections and keys are LavinMQ's where it has one; an existing lavinmq.ini works too.\n\
         ; Sizes take k, M, G, T (1024 each). Command line > environment > this file > default.\n\
         ; Unknown sections or keys and bad values stop the start with the line and the reason.\n",
    );
    for (section, not_used) in NOT_USED {
        let _ = write!(text, "\n[{section}]\n");
        for s in in_section(section) {
            let later = if s.not_yet { " Not used yet." } else { "" };
            let _ = write!(
                text,
                "\n; {}{later}\n; {}; change: {}; {}\n;{} = {}\n",
                s.about,
                s.allowed(),
                change_name(s.change),
                s.env(),
                s.key,
                s.default,
            );
        }
        if *section == "mqtt" {
            text.push_str(LISTENERS);
        }
        let _ = write!(text, "\n; Accepted, not used yet:\n");
        for key in *not_used {
            let _ = writeln!(text, ";   {key}");
        }
    }
    text
}

/// The table of all settings for tuning.md.
pub fn settings_table() -> String {
    let mut text =
        String::from("| setting | default | allowed | change | meaning |\n|---|---|---|---|---|\n");
    for s in SETTINGS {
        let later = if s.not_yet { " (Not used yet.)" } else { "" };
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {} | {} | {}{later} |",
            s.name(),
            shown_default(s),
            s.allowed(),
            change_name(s.change),
            s.about,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Config, ini};
    use super::*;

    const BEGIN: &str = "<!-- settings: written by `cargo test regenerate -- --ignored` -->\n";
    const END: &str = "<!-- end of settings -->\n";

    fn file(name: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), name].iter().collect()
    }

    fn with_table(tuning: &str) -> String {
        let (before, rest) = tuning.split_once(BEGIN).expect("tuning.md has the begin mark");
        let (_, after) = rest.split_once(END).expect("tuning.md has the end mark");
        format!("{before}{BEGIN}{}{END}{after}", settings_table())
    }

    #[test]
    fn the_sample_file_is_what_the_declarations_say() {
        let found = std::fs::read_to_string(file("deploy/ringmq.ini")).unwrap();
        assert_eq!(found, sample_ini(), "run: cargo test regenerate -- --ignored");
    }

    #[test]
    fn the_table_of_tuning_md_is_what_the_declarations_say() {
        let found = std::fs::read_to_string(file("tuning.md")).unwrap();
        assert_eq!(found, with_table(&found), "run: cargo test regenerate -- --ignored");
    }

    /// Not a test: writes both files anew after a declaration has changed.
    #[test]
    #[ignore = "writes files; run by hand after changing a declaration"]
    fn regenerate() {
        std::fs::write(file("deploy/ringmq.ini"), sample_ini()).unwrap();
        let tuning = std::fs::read_to_string(file("tuning.md")).unwrap();
        std::fs::write(file("tuning.md"), with_table(&tuning)).unwrap();
    }

    #[test]
    fn the_sample_file_with_all_keys_switched_on_gives_the_defaults() {
        let switched_on: String = sample_ini()
            .lines()
            .map(|l| if l.starts_with("; ") { l } else { l.trim_start_matches(';') })
            .fold(String::new(), |all, line| all + line + "\n");
        let entries = ini::parse(&switched_on).unwrap();
        assert_eq!(entries.len(), SETTINGS.len());
        let mut config = Config::default();
        for (entry, setting) in entries.iter().zip(SETTINGS) {
            assert_eq!((entry.section, entry.key), (setting.section, setting.key));
            setting.apply(&mut config, entry.value).unwrap();
        }
        assert_eq!(config, Config::default());
    }
}

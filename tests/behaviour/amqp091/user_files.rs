//! Users of a password file, which changes while the broker runs (mqtt.md V-220).

use std::path::PathBuf;

use crate::support::broker::Options;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::methods::declare;
use crate::support::{Broker, Client, Login};

/// "secret", by mosquitto_passwd 2.0.
const JOE: &str = "joe:$6$fjg1uNsCppUILwaG$/CDwOWA9FgsNNt9xN4xTaswzJ8waOJ2NGwlu2yizITK94oeG5nt2tAHBwW9IpCoDReAtj7b46niGlhI9J3pZkw==\n";

struct PasswordFile(PathBuf);

impl PasswordFile {
    fn new() -> Self {
        let name = format!("ringmq-behaviour-passwords-{}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(JOE);
        file
    }

    fn write(&self, text: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, text).expect("a file in the temporary folder");
        std::fs::rename(&new, &self.0).expect("a file in the temporary folder");
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// They have topics and nothing else; guest stays what it is.
#[test]
fn users_of_a_password_file_come_and_go_without_a_restart() {
    let file = PasswordFile::new();
    let config = format!(
        "[mqtt]\nvmq_passwd.password_file = {}\nvmq_passwd.password_reload_interval = 1\n",
        file.0.display()
    );
    let broker = Broker::with(Options { config: &config, ..Options::default() });
    let login = Login { user: "joe", password: "secret", ..Login::default() };
    let mut joe = Client::connect(broker.addr());
    joe.log_in(&login);
    joe.open_channel(1);
    joe.send(1, &declare("q"));
    joe.expect_channel_close(1, 403, "configure access to queue 'q'");
    let mut guest = Client::connect(broker.addr());
    guest.log_in(&Login::default());

    file.write("# nobody\n");
    joe.expect_close(320, "user 'joe' is deleted");
    let mut again = Client::connect(broker.addr());
    again.send_raw(PROTOCOL_HEADER);
    again.expect_start();
    again.send_start_ok(&login, "PLAIN", &login.plain());
    again.expect_close(403, "ACCESS_REFUSED");

    file.write(&format!("{JOE}broken\n"));
    guest.open_channel(1);
    guest.declare(1, "q");
    guest.close();
    broker.terminate();
}

//! Users whose passwords are kept as argon2id, and users that outlive the file they came from.

use std::path::PathBuf;

use ringmq::auth::password::PasswordHash;

use crate::support::broker::{Ending, Options};
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::siege::unique;
use crate::support::{Broker, Client, Login};

fn definitions(password: &[u8]) -> PathBuf {
    let (hash, _) = PasswordHash::of_password(password).expect("random numbers");
    let text = format!(
        r#"{{"users": [{{"name": "slow", "password_hash": "{hash}", "tags": [],
                         "hashing_algorithm": "argon2id"}}],
            "vhosts": [{{"name": "v"}}],
            "permissions": [{{"user": "slow", "vhost": "v", "configure": ".*", "write": ".*",
                              "read": ".*"}}]}}"#
    );
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique("definitions"));
    std::fs::write(&path, text).expect("a file under target/");
    path
}

fn works(broker: &Broker, login: &Login<'_>) {
    let mut client = Client::connect(broker.addr());
    client.log_in(login);
    client.open_channel(1);
    client.declare(1, "q");
    client.close();
}

#[test]
fn a_user_with_argon2id_logs_in_and_outlives_the_file_and_a_crash() {
    let file = definitions(b"secret");
    let config = format!("load_definitions = {}\n", file.display());
    let broker = Broker::with(Options { config: &config, ..Options::default() });
    let login = Login { user: "slow", password: "secret", vhost: "v", ..Login::default() };
    for _ in 0..3 {
        works(&broker, &login);
    }
    let wrong = Login { password: "Secret", ..login };
    let mut refused = Client::connect(broker.addr());
    refused.send_raw(PROTOCOL_HEADER);
    refused.expect_start();
    refused.send_start_ok(&wrong, "PLAIN", &wrong.plain());
    refused.expect_close(403, "ACCESS_REFUSED");
    // Without the file it is the stored users that count.
    drop(std::fs::remove_file(&file));
    let broker = broker.again(Ending::Kill, Options::default());
    works(&broker, &login);
    let broker = broker.again(Ending::Term, Options::default());
    works(&broker, &login);
    broker.terminate();
}

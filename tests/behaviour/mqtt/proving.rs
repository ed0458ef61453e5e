//! Enhanced authentication by SCRAM, as a client does it that shares no code with the broker.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest as _, Sha256, Sha512};

use crate::support::broker::Options;
use crate::support::{Broker, Client as Amqp, Login};

use super::client::{Client, take_properties};
use super::ground::Ground;
use super::octets::{Hello, V5, binary, block, packet, text};

/// "secret": 4096 iterations by Python's hashlib, and by mosquitto_passwd 2.0.
const FILE: &str = "ann:SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$Ce3wZiZ+yIBCjltccfRiqM0+XDsLE3qPdkEeZKe3hus=:k3q4nlLsA09ST5FLo9zNmfyXR+Ci1J4KmBK5JRVSxeI=\n\
    joe:$7$101$fB31yVlG8PY2Mao2$w7MjZ1NWqRngeioMJBOjoRYUsHUiGA561l5NgxgSmKOh9pwje8So8SRivSSVpiagWjx7Yg1cod5JdD7XJ15XeA==\n";

struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn ground(name: &str) -> (Ground, File) {
    let name = format!("ringmq-behaviour-{name}-{}", std::process::id());
    let file = File(std::env::temp_dir().join(name));
    std::fs::write(&file.0, FILE).expect("a file in the temporary folder");
    let config = format!("[mqtt]\nvmq_passwd.password_file = {}\n", file.0.display());
    let broker = Broker::with(Options { shards: 2, config: &config, ..Options::new() });
    (Ground::on(broker), file)
}

/// A variant, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Method(&'static str);

const SHA256: Method = Method("SCRAM-SHA-256");
const SHA512: Method = Method("SCRAM-SHA-512");

impl Method {
    fn sign(self, key: &[u8], octets: &[u8]) -> Vec<u8> {
        if self == SHA256 {
            let mac = Hmac::<Sha256>::new_from_slice(key).expect("any key");
            return mac.chain_update(octets).finalize().into_bytes().to_vec();
        }
        let mac = Hmac::<Sha512>::new_from_slice(key).expect("any key");
        mac.chain_update(octets).finalize().into_bytes().to_vec()
    }

    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        if self == SHA256 {
            let mut sum = vec![0; 32];
            pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut sum);
            return sum;
        }
        let mut sum = vec![0; 64];
        pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut sum);
        sum
    }

    fn hash(self, octets: &[u8]) -> Vec<u8> {
        if self == SHA256 {
            Sha256::digest(octets).to_vec()
        } else {
            Sha512::digest(octets).to_vec()
        }
    }

    /// The client's last message and the server's, for this answer to the first.
    fn last(self, password: &str, first: &str, answer: &str) -> (String, String) {
        let part = |name: &str| {
            answer.split(',').find_map(|part| part.strip_prefix(name)).expect("three parts")
        };
        let salt = BASE64.decode(part("s=")).expect("base64");
        let iterations = part("i=").parse().expect("a number");
        let salted = self.salted(password.as_bytes(), &salt, iterations);
        let key = self.sign(&salted, b"Client Key");
        let front = format!("c=biws,r={}", part("r="));
        let said = format!("{},{answer},{front}", first.strip_prefix("n,,").expect("n,,"));
        let signature = self.sign(&self.hash(&key), said.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let server = self.sign(&self.sign(&salted, b"Server Key"), said.as_bytes());
        let last = format!("{front},p={}", BASE64.encode(proof));
        (last, format!("v={}", BASE64.encode(server)))
    }

    fn properties(self, data: &str) -> Vec<u8> {
        let data = binary(data.as_bytes());
        [&[0x15][..], &text(self.0), &[0x16], &data].concat()
    }

    fn auth(self, code: u8, data: &str) -> Vec<u8> {
        packet(0xF0, &[&[code][..], &block(V5, &self.properties(data))].concat())
    }
}

/// AUTH with this code; its data.
fn expect_auth(client: &mut Client, code: u8, method: Method) -> String {
    let came = client.expect_packet();
    assert_eq!((came.first, came.body[0]), (0xF0, code), "AUTH: {came:x?}");
    let all = take_properties(&mut &came.body[1..]);
    assert_eq!(all[0], (0x15, method.0.into()), "the same method");
    String::from_utf8(all[1].1.clone()).expect("a text")
}

/// Who proves to know the password is let in; the broker proves that it knows the user.
fn let_in(ground: &Ground, method: Method, user: &str) -> Client {
    let first = format!("n,,n={user},r=fyko+d2lbbFgONRv9qkxdawL");
    let mut client = ground.stranger(V5);
    let properties = method.properties(&first);
    let hello = Hello { user: user.into(), password: Vec::new(), ..Hello::new(V5, user) };
    client.send(&hello.with(&properties).octets());
    let answer = expect_auth(&mut client, 0x18, method);
    assert!(answer.starts_with("r=fyko+d2lbbFgONRv9qkxdawL"), "{answer}");
    let (last, proof) = method.last("secret", &first, &answer);
    client.send(&method.auth(0x18, &last));
    let connack = client.expect_connack();
    assert_eq!(connack.code, 0);
    assert_eq!(connack.property(0x15), Some(method.0.as_bytes()));
    assert_eq!(connack.property(0x16), Some(proof.as_bytes()));
    client
}

/// MQTT-4.12.0-2, MQTT-4.12.0-3, MQTT-4.12.0-5, MQTT-4.12.1-1 (v5), H-30
#[test]
fn users_of_a_password_file_prove_who_they_are_at_first_and_later() {
    let (ground, _file) = ground("proof");
    for (method, user) in [(SHA256, "ann"), (SHA512, "joe")] {
        let mut client = let_in(&ground, method, user);
        client.subscribe("t", 1);
        let first = format!("n,,n={user},r=again");
        client.send(&method.auth(0x19, &first));
        let answer = expect_auth(&mut client, 0x18, method);
        client.tell("t", "meanwhile");
        client.expect_text("meanwhile");
        let (last, proof) = method.last("secret", &first, &answer);
        client.send(&method.auth(0x18, &last));
        assert_eq!(expect_auth(&mut client, 0, method), proof);
        // MQTT-4.12.1-2 (v5)
        client.send(&method.auth(0x19, &first));
        expect_auth(&mut client, 0x18, method);
        client.send(&method.auth(0x18, "c=biws,r=again,p=AAAA"));
        client.expect_closed(0x87);
    }
    // The same hash serves a password as well.
    let ann = Hello { user: b"ann".into(), password: b"secret".into(), ..Hello::new(V5, "plain") };
    assert_eq!(ground.answer_to(&ann).code, 0);
    let mut amqp = Amqp::connect(ground.broker().addr());
    amqp.log_in(&Login { user: "ann", password: "secret", ..Login::default() });
    amqp.close();
    ground.lift();
}

/// MQTT-3.1.2-30, MQTT-4.12.0-1, MQTT-4.12.0-4 (v5)
#[test]
fn other_methods_and_proofs_that_are_none_are_refused() {
    let (ground, _file) = ground("no-proof");
    let method = Method("GSSAPI");
    let hello = Hello::new(V5, "x").with(&method.properties("x"));
    assert_eq!(ground.answer_to(&hello).code, 0x8C);
    for (user, password) in [("ann", "wrong"), ("nobody", "secret"), ("guest", "guest")] {
        let first = format!("n,,n={user},r=x");
        let mut client = ground.stranger(V5);
        let hello = Hello { user: user.into(), ..Hello::new(V5, "x") };
        client.send(&hello.with(&SHA256.properties(&first)).octets());
        let answer = expect_auth(&mut client, 0x18, SHA256);
        let (last, _) = SHA256.last(password, &first, &answer);
        client.send(&SHA256.auth(0x18, &last));
        assert_eq!(client.expect_connack().code, 0x87, "{user}");
        client.expect_end();
    }
    let mut client = ground.stranger(V5);
    let first = "n,,n=ann,r=x";
    let hello = Hello { user: b"ann".into(), ..Hello::new(V5, "x") };
    client.send(&hello.with(&SHA256.properties(first)).octets());
    expect_auth(&mut client, 0x18, SHA256);
    client.tell("t", "too early");
    assert_eq!(client.expect_connack().code, 0x82);
    client.expect_end();
    ground.lift();
}

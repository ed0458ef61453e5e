//! RabbitMQ's HTTP client of Rust (`rabbitmq_http_client`), unchanged: what it asks for is answered in
//! the types that it expects. Ends with a panic if it is not. May import nothing of the broker.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rabbitmq_http_client::blocking_api::{Client, HttpClientError};
use rabbitmq_http_client::commons::{
    PaginationParams, SupportedProtocol, UserLimitTarget, VirtualHostLimitTarget,
};
use rabbitmq_http_client::requests::{
    EnforcedLimitParams, Permissions, TopicPermissions, UserParams, VirtualHostParams,
};
use rabbitmq_http_client::{password_hashing, responses};
use serde_json::json;

type Api = Client<String, String, String>;

fn variable(name: &str, usual: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| usual.into())
}

fn api(user: &str, password: &str) -> Api {
    let (host, port) = (variable("HTTP_HOST", "127.0.0.1"), variable("HTTP_PORT", "15672"));
    Client::new(format!("http://{host}:{port}/api"), user.into(), password.into())
}

fn main() {
    let api = api("guest", "guest");
    the_node(&api);
    users(&api);
    virtual_hosts(&api);
    permissions(&api);
    limits(&api);
    connections(&api);
    health(&api);
    definitions(&api);
    refusals(&api);
    println!("all is well");
}

fn the_node(api: &Api) {
    let overview = api.overview().expect("an overview");
    assert!(!overview.cluster_name.is_empty() && !overview.listeners.is_empty());
    assert_eq!(api.server_version().expect("a version"), overview.rabbitmq_version);
    let nodes = api.list_nodes().expect("nodes");
    let [node] = &nodes[..] else { panic!("one node: {nodes:?}") };
    assert!(node.fd_total > 0 && node.memory_high_watermark > 0, "{node:?}");
    assert_eq!(node.rabbitmq_version(), overview.rabbitmq_version);
    assert_eq!(api.get_node_info(&node.name).expect("the node").os_pid, node.os_pid);
    api.set_cluster_name("suite").expect("a name");
    assert_eq!(api.get_cluster_name().expect("the name").name, "suite");
}

fn hash(password: &str) -> String {
    password_hashing::base64_encoded_salted_password_hash_sha256(
        &password_hashing::salt(),
        password,
    )
}

fn users(api: &Api) {
    let hash = hash("secret");
    api.create_user(&UserParams::monitoring("mona", &hash)).expect("a user");
    api.create_user(&UserParams::without_tags("nora", &hash)).expect("a user");
    let all = api.list_users().expect("users");
    assert!(["guest", "mona", "nora"].iter().all(|name| all.iter().any(|u| u.name == **name)));
    assert_eq!(api.get_user("mona").expect("the user").tags.0, ["monitoring"]);
    let bare = api.list_users_without_permissions().expect("users");
    assert_eq!(bare.len(), 2, "{bare:?}");
    let page = api.list_users_paged(&PaginationParams::first_page(2)).expect("a page");
    assert_eq!(page.len(), 2);
    assert_eq!(self::api("mona", "secret").current_user().expect("who").name, "mona");
    api.delete_users(vec!["mona"]).expect("gone");
    api.delete_user("nora", false).expect("gone");
    api.delete_user("nora", true).expect("gone already");
}

fn virtual_hosts(api: &Api) {
    let params = VirtualHostParams::named("suite/1").with_description("of the suite");
    api.create_vhost(&params).expect("a virtual host");
    api.update_vhost(&params.with_description("still")).expect("another text");
    let vhost = api.get_vhost("suite/1").expect("the virtual host");
    assert_eq!(vhost.description.as_deref(), Some("still"));
    assert_eq!(api.list_vhosts().expect("virtual hosts").len(), 2);
    api.enable_vhost_deletion_protection("suite/1").expect("locked");
    let vhost = api.get_vhost("suite/1").expect("the virtual host");
    assert_eq!(vhost.protected_from_deletion, Some(true));
    api.delete_vhost("suite/1", false).expect_err("it is protected");
    api.disable_vhost_deletion_protection("suite/1").expect("unlocked");
    api.delete_vhost("suite/1", false).expect("gone");
    api.delete_vhost("suite/1", true).expect("gone already");
}

fn permissions(api: &Api) {
    api.create_user(&UserParams::without_tags("nora", &hash("secret"))).expect("a user");
    let own = Permissions { configure: "^own", ..Permissions::full_access("nora", "/") };
    api.declare_permissions(&own).expect("permissions");
    assert_eq!(api.get_permissions("/", "nora").expect("them").configure, "^own");
    for list in
        [api.list_permissions(), api.list_permissions_in("/"), api.list_permissions_of("nora")]
    {
        assert!(list.expect("a list").iter().any(|row| row.user == "nora"));
    }
    let topics = TopicPermissions {
        user: "nora",
        vhost: "/",
        exchange: "amq.topic",
        read: "^r",
        write: "^w",
    };
    api.declare_topic_permissions(&topics).expect("topic permissions");
    for list in [
        api.list_topic_permissions(),
        api.list_topic_permissions_in("/"),
        api.list_topic_permissions_of("nora"),
    ] {
        assert!(list.expect("a list").iter().any(|row| row.exchange == "amq.topic"));
    }
    api.clear_topic_permissions("/", "nora", false).expect("gone");
    api.clear_permissions("/", "nora", false).expect("gone");
    api.delete_user("nora", false).expect("gone");
}

fn limits(api: &Api) {
    let user = EnforcedLimitParams::new(UserLimitTarget::MaxChannels, 7);
    api.set_user_limit("guest", user).expect("a limit");
    let all = api.list_all_user_limits().expect("limits");
    assert_eq!(all[0].limits["max-channels"], 7);
    assert_eq!(api.list_user_limits("guest").expect("limits").len(), 1);
    api.clear_user_limit("guest", UserLimitTarget::MaxChannels).expect("no limit");
    let vhost = EnforcedLimitParams::new(VirtualHostLimitTarget::MaxQueues, 9);
    api.set_vhost_limit("/", vhost).expect("a limit");
    let all = api.list_all_vhost_limits().expect("limits");
    assert_eq!(all[0].limits["max-queues"], 9);
    assert_eq!(api.list_vhost_limits("/").expect("limits").len(), 1);
    api.clear_vhost_limit("/", VirtualHostLimitTarget::MaxQueues).expect("no limit");
    assert!(api.list_all_vhost_limits().expect("limits").is_empty());
}

/// Somebody who is connected: the handshake of AMQP by hand, with one channel open.
struct Connected(TcpStream);

impl Connected {
    fn new() -> Self {
        let address = (variable("AMQP_HOST", "127.0.0.1"), variable("AMQP_PORT", "5672"));
        let port = address.1.parse().expect("a port");
        let mut stream = TcpStream::connect((address.0.as_str(), port)).expect("a broker");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.write_all(b"AMQP\0\0\x09\x01").expect("the header");
        let mut client = Self(stream);
        client.expect((10, 10));
        // No properties, PLAIN, "\0guest\0guest", en_US.
        let start_ok = b"\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US";
        client.send(0, (10, 11), start_ok);
        client.expect((10, 30));
        client.send(0, (10, 31), &[0, 0, 0, 2, 0, 0, 0, 0]);
        client.send(0, (10, 40), b"\x01/\0\0");
        client.expect((10, 41));
        client.send(1, (20, 10), b"\0");
        client.expect((20, 11));
        client
    }

    fn send(&mut self, channel: u16, (class, method): (u16, u16), arguments: &[u8]) {
        let length = u32::try_from(arguments.len() + 4).expect("a few octets");
        let mut frame = vec![1];
        frame.extend(channel.to_be_bytes());
        frame.extend(length.to_be_bytes());
        frame.extend(class.to_be_bytes());
        frame.extend(method.to_be_bytes());
        frame.extend(arguments);
        frame.push(0xCE);
        self.0.write_all(&frame).expect("the broker reads");
    }

    /// The arguments of this method, which is to come next.
    fn expect(&mut self, (class, method): (u16, u16)) -> Vec<u8> {
        let mut head = [0; 7];
        self.0.read_exact(&mut head).expect("a frame");
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut rest = vec![0; usize::try_from(length).expect("a length") + 1];
        self.0.read_exact(&mut rest).expect("a whole frame");
        let ids = [&class.to_be_bytes()[..], &method.to_be_bytes()].concat();
        assert_eq!(rest[..4], ids[..], "class and method");
        rest[4..].to_vec()
    }
}

fn connections(api: &Api) {
    let (mut first, mut second) = (Connected::new(), Connected::new());
    let all = api.list_connections().expect("connections");
    assert_eq!(all.len(), 2, "{all:?}");
    let one = &all[0];
    assert_eq!((&*one.username, one.channel_count), ("guest", 1), "{one:?}");
    assert_eq!(api.get_connection_info(&one.name).expect("it").name, one.name);
    assert_eq!(api.list_connections_in("/").expect("connections").len(), 2);
    assert_eq!(api.list_user_connections("guest").expect("connections").len(), 2);
    let page = api.list_connections_paged(&PaginationParams::first_page(1));
    assert_eq!(page.expect("a page").len(), 1);
    let channels = api.list_channels().expect("channels");
    assert_eq!(channels.len(), 2, "{channels:?}");
    assert!(channels.iter().all(|c| c.state == responses::ChannelState::Running));
    assert_eq!(api.list_channels_in("/").expect("channels").len(), 2);
    assert_eq!(api.list_channels_on(&one.name).expect("channels")[0].id, 1);
    let name = format!("{} (1)", one.name);
    assert_eq!(api.get_channel_info(&name).expect("the channel").name, name);
    let port = first.0.local_addr().expect("an address").port();
    let own = |c: &&responses::Connection| c.client_port == Some(u32::from(port));
    let name = all.iter().find(own).expect("ours").name.clone();
    api.close_connection(&name, Some("enough"), false).expect("closed");
    let close = first.expect((10, 50));
    assert!(String::from_utf8_lossy(&close).contains("enough"));
    api.close_user_connections("guest", Some("all of you"), true).expect("closed");
    second.expect((10, 50));
    drop((first, second));
    api.close_connection(&name, None, true).expect("gone already");
}

fn health(api: &Api) {
    api.health_check_cluster_wide_alarms().expect("no alarm");
    api.health_check_local_alarms().expect("no alarm");
    api.health_check_if_node_is_quorum_critical().expect("it is not");
    let port = variable("AMQP_PORT", "5672").parse().expect("a port");
    api.health_check_port_listener(port).expect("it listens");
    api.health_check_protocol_listener(SupportedProtocol::AMQP).expect("it listens");
    let failed = api.health_check_port_listener(1);
    assert!(matches!(failed, Err(HttpClientError::HealthCheckFailed { .. })), "{failed:?}");
}

fn definitions(api: &Api) {
    api.create_vhost(&VirtualHostParams::named("kept")).expect("a virtual host");
    let limit = EnforcedLimitParams::new(VirtualHostLimitTarget::MaxConnections, 5);
    api.set_vhost_limit("kept", limit).expect("a limit");
    let file = api.export_cluster_wide_definitions().expect("a file");
    let data = api.export_cluster_wide_definitions_as_data().expect("the same, typed");
    assert!(data.virtual_hosts.iter().any(|vhost| vhost.name == "kept"));
    let own = api.export_vhost_definitions("kept").expect("a file");
    assert_eq!(api.export_vhost_definitions_as_data("kept").expect("typed").parameters.len(), 1);
    api.delete_vhost("kept", false).expect("gone");
    let file = serde_json::from_str(&file).expect("JSON");
    api.import_cluster_wide_definitions(file).expect("taken");
    assert_eq!(api.list_vhost_limits("kept").expect("limits")[0].limits["max-connections"], 5);
    api.clear_vhost_limit("kept", VirtualHostLimitTarget::MaxConnections).expect("no limit");
    let own = serde_json::from_str(&own).expect("JSON");
    api.import_vhost_definitions("kept", own).expect("taken");
    assert_eq!(api.list_vhost_limits("kept").expect("limits").len(), 1);
    api.import_definitions(json!({ "users": [{}] })).expect_err("no user has no name");
    api.delete_vhost("kept", false).expect("gone");
}

fn refusals(api: &Api) {
    let missing = api.get_user("nobody").expect_err("there is none");
    assert!(matches!(missing, HttpClientError::NotFound), "{missing:?}");
    let stranger = self::api("guest", "wrong").overview().expect_err("a wrong password");
    assert!(matches!(stranger, HttpClientError::ClientErrorResponse { .. }), "{stranger:?}");
}

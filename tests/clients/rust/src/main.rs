//! rumqttc, unchanged: 3.1.1 and 5.0 as applications use them. Ends with a panic if the broker does
//! not do as it should. May import nothing of the broker.

use std::time::Duration;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        v4::suite().await;
        v5::suite().await;
    });
    println!("all is well");
}

fn port() -> u16 {
    let port = std::env::var("MQTT_PORT").unwrap_or_else(|_| "1883".into());
    port.parse().expect("a port")
}

/// A name nobody else uses.
fn unique(kind: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{kind}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The same for both versions: the types of the client have the same names in two modules.
macro_rules! suite {
    () => {
        /// A client, what happens to it, and whether its session was there.
        async fn connect(options: &MqttOptions) -> (AsyncClient, EventLoop, bool) {
            let (client, mut events) = AsyncClient::new(options.clone(), 100);
            let is_present = until(&mut events, |packet| match packet {
                Packet::ConnAck(connack) => {
                    assert_eq!(connack.code, ConnectReturnCode::Success);
                    Some(connack.session_present)
                }
                _ => None,
            })
            .await;
            (client, events, is_present)
        }

        /// The first thing that is wanted of what comes.
        async fn until<T>(
            events: &mut EventLoop,
            mut wanted: impl FnMut(&Packet) -> Option<T>,
        ) -> T {
            let search = async {
                loop {
                    let event = events.poll().await.expect("a connection");
                    if let Event::Incoming(packet) = event {
                        if let Some(found) = wanted(&packet) {
                            return found;
                        }
                    }
                }
            };
            tokio::time::timeout(PATIENCE, search).await.expect("in time")
        }

        fn message(packet: &Packet) -> Option<Publish> {
            if let Packet::Publish(publish) = packet { Some(publish.clone()) } else { None }
        }

        async fn subscribe(client: &AsyncClient, events: &mut EventLoop, topic: &str) {
            client.subscribe(topic, QoS::ExactlyOnce).await.expect("a request");
            until(events, |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
        }

        async fn publish(client: &AsyncClient, topic: &str, qos: QoS, body: impl Into<Vec<u8>>) {
            client.publish(topic, qos, false, body.into()).await.expect("a request");
        }

        async fn what_is_published_arrives_in_order() {
            let (client, mut events, _) = connect(&options(&unique("order"))).await;
            let topic = unique("order");
            subscribe(&client, &mut events, &topic).await;
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                for round in 0..5 {
                    for number in 0..20 {
                        publish(&client, &topic, qos, format!("{round} {number}")).await;
                    }
                    for number in 0..20 {
                        let came = until(&mut events, message).await;
                        assert_eq!(came.qos, qos);
                        assert_eq!(came.payload[..], *format!("{round} {number}").as_bytes());
                    }
                }
            }
        }

        async fn large_messages_arrive_whole() {
            let (client, mut events, _) = connect(&options(&unique("large"))).await;
            let topic = unique("large");
            subscribe(&client, &mut events, &topic).await;
            for size in [0_usize, 1, 127, 128, 16_383, 16_384, 1 << 20] {
                let body: Vec<u8> = (0..=250_u8).cycle().take(size).collect();
                publish(&client, &topic, QoS::ExactlyOnce, body.clone()).await;
                assert_eq!(until(&mut events, message).await.payload[..], body[..]);
            }
        }

        async fn a_will_is_sent_for_a_client_that_vanishes() {
            let (client, mut events, _) = connect(&options(&unique("witness"))).await;
            let topic = unique("will");
            subscribe(&client, &mut events, &topic).await;
            let mut options = options(&unique("testator"));
            options.set_last_will(last_will(&topic));
            drop(connect(&options).await);
            assert_eq!(until(&mut events, message).await.payload[..], *b"gone");
        }

        async fn a_session_goes_on() {
            let topic = unique("session");
            let options = lasting(&unique("session"));
            let (client, mut events, is_present) = connect(&options).await;
            assert!(!is_present);
            subscribe(&client, &mut events, &topic).await;
            drop((client, events));
            let (other, mut events, _) = connect(&self::options(&unique("other"))).await;
            for number in 0..20_u8 {
                let is_even = number % 2 == 0;
                let qos = if is_even { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                publish(&other, &topic, qos, vec![number]).await;
                let is_done =
                    |packet: &Packet| matches!(packet, Packet::PubAck(_) | Packet::PubComp(_));
                until(&mut events, |packet| is_done(packet).then_some(())).await;
            }
            let (_client, mut events) = AsyncClient::new(options, 10);
            let (mut is_present, mut wanted) = (false, 0);
            until(&mut events, |packet| {
                if let Packet::ConnAck(connack) = packet {
                    is_present = connack.session_present;
                }
                if let Some(came) = message(packet) {
                    assert_eq!(came.payload[..], [wanted]);
                    wanted += 1;
                }
                (wanted == 20).then_some(())
            })
            .await;
            assert!(is_present);
        }

        async fn a_wrong_password_is_refused() {
            let mut options = options(&unique("refused"));
            options.set_credentials("guest", "wrong");
            let (_client, mut events) = AsyncClient::new(options, 10);
            assert!(matches!(events.poll().await, Err(ConnectionError::ConnectionRefused(_))));
        }

        pub(crate) async fn suite() {
            what_is_published_arrives_in_order().await;
            large_messages_arrive_whole().await;
            a_will_is_sent_for_a_client_that_vanishes().await;
            a_session_goes_on().await;
            a_wrong_password_is_refused().await;
        }
    };
}

mod v4 {
    use rumqttc::{
        AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions,
        Packet, Publish, QoS,
    };

    use super::{PATIENCE, port, unique};

    fn options(client: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client, "127.0.0.1", port());
        options.set_credentials("guest", "guest").set_max_packet_size(2 << 20, 2 << 20);
        options
    }

    fn lasting(client: &str) -> MqttOptions {
        let mut options = options(client);
        options.set_clean_session(false);
        options
    }

    fn last_will(topic: &str) -> LastWill {
        LastWill::new(topic, "gone", QoS::AtLeastOnce, false)
    }

    suite!();
}

mod v5 {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{
        ConnectProperties, ConnectReturnCode, LastWill, Packet, Publish,
    };
    use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};

    use super::{PATIENCE, port, unique};

    fn options(client: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client, "127.0.0.1", port());
        options.set_credentials("guest", "guest").set_max_packet_size(Some(2 << 20));
        options
    }

    fn lasting(client: &str) -> MqttOptions {
        let mut options = options(client);
        let mut properties = ConnectProperties::new();
        properties.session_expiry_interval = Some(600);
        properties.max_packet_size = Some(2 << 20);
        options.set_clean_start(false).set_connect_properties(properties);
        options
    }

    fn last_will(topic: &str) -> LastWill {
        LastWill::new(topic, "gone", QoS::AtLeastOnce, false, None)
    }

    suite!();
}

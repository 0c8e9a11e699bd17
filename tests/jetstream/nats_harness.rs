//! The harness itself: what the tests of faults stand on.

use crate::nats;
use crate::proxy;

use std::time::Duration;

use nats::NatsServer;
use proxy::{Fault, Proxy};
use tokio::time::timeout;

async fn connect(url: String) -> async_nats::Client {
    async_nats::ConnectOptions::new().connection_timeout(Duration::from_secs(2)).connect(url).await.unwrap()
}

#[tokio::test]
async fn a_server_keeps_its_port_and_its_store_over_a_restart() {
    let mut server = NatsServer::start().await;
    let url = server.url();
    let jetstream = async_nats::jetstream::new(connect(server.url()).await);
    jetstream.create_stream("KEPT").await.unwrap();
    server.restart().await;
    assert_eq!(server.url(), url);
    let jetstream = async_nats::jetstream::new(connect(server.url()).await);
    jetstream.get_stream("KEPT").await.unwrap();
}

#[tokio::test]
async fn a_configuration_snippet_is_used() {
    let server = NatsServer::with_config("authorization { user: ann, password: secret }").await;
    let refused = async_nats::connect(server.url()).await.unwrap_err();
    assert_eq!(refused.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
}

#[tokio::test]
async fn a_frozen_server_is_silent_until_it_thaws() {
    let server = NatsServer::start().await;
    let client = connect(server.url()).await;
    let mut echo = client.subscribe("echo").await.unwrap();
    client.flush().await.unwrap();
    server.freeze();
    client.publish("echo", "hello".into()).await.unwrap();
    let next = futures_util::StreamExt::next(&mut echo);
    tokio::pin!(next);
    assert!(timeout(Duration::from_millis(300), &mut next).await.is_err());
    server.thaw();
    assert_eq!(timeout(Duration::from_secs(5), next).await.unwrap().unwrap().payload, "hello");
}

#[tokio::test]
async fn the_proxy_stalls_and_cuts() {
    let server = NatsServer::start().await;
    let proxy = Proxy::start(server.address()).await;
    let client = connect(proxy.url()).await;
    let mut echo = client.subscribe("echo").await.unwrap();
    client.flush().await.unwrap();
    proxy.set(Fault::Stall);
    client.publish("echo", "hello".into()).await.unwrap();
    let next = futures_util::StreamExt::next(&mut echo);
    tokio::pin!(next);
    assert!(timeout(Duration::from_millis(300), &mut next).await.is_err());
    proxy.set(Fault::None);
    assert_eq!(timeout(Duration::from_secs(5), next).await.unwrap().unwrap().payload, "hello");

    proxy.set(Fault::Refuse);
    proxy.cut();
    let disconnected = async {
        while client.connection_state() != async_nats::connection::State::Disconnected {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), disconnected).await.unwrap();
}

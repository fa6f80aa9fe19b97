//! The client against a provider of a few lines on a raw socket.

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::Secret;

fn client(address: &str) -> Upstream {
    let one = |key: &str| ProviderConfig {
        api_key: Some(Secret::new(key)),
        base_url: format!("http://{address}").parse().unwrap(),
    };
    let xai = ProviderConfig { api_key: None, ..one("") };
    let (openai, anthropic, google) = (one("sk-openai"), one("sk-anthropic"), one("sk-google"));
    Upstream::new(&Providers { openai, anthropic, google, xai }, NonZeroUsize::MIN).unwrap()
}

async fn provider() -> (TcpListener, Upstream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, client(&address))
}

/// Reads one request whose body is `{}`.
async fn request(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n{}") {
        assert_ne!(socket.read_buf(&mut text).await.unwrap(), 0, "the client hung up");
    }
    String::from_utf8(text).unwrap()
}

async fn send(client: &Upstream, provider: Provider) -> Result<Response<Incoming>, UpstreamError> {
    let body = vec![Bytes::from_static(b"{"), Bytes::from_static(b"}")];
    client.send(provider, "/v1/x?beta=true", &HeaderMap::new(), body).await
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_carries_the_operators_key_and_its_exact_length() {
    for (provider_name, key) in [
        (Provider::OpenAi, "authorization: Bearer sk-openai\r\n"),
        (Provider::Anthropic, "x-api-key: sk-anthropic\r\n"),
        (Provider::Google, "x-goog-api-key: sk-google\r\n"),
    ] {
        let (listener, client) = provider().await;
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let text = request(&mut socket).await;
            socket.write_all(ANSWER).await.unwrap();
            text
        };
        let (text, response) = tokio::join!(serve, send(&client, provider_name));
        let body = response.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "ok");
        assert!(text.starts_with("POST /v1/x?beta=true HTTP/1.1\r\n"), "{text}");
        for line in [key, "content-length: 2\r\n", "accept-encoding: identity\r\n"] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("transfer-encoding"), "{text}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_and_replaced_when_the_provider_closed_it() {
    let (listener, client) = provider().await;
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            request(&mut socket).await;
            socket.write_all(ANSWER).await.unwrap();
        }
        drop(socket);
        drop(listener.accept().await.unwrap());
        let (mut socket, _) = listener.accept().await.unwrap();
        request(&mut socket).await;
        socket.write_all(ANSWER).await.unwrap();
    };
    let ask = async {
        for round in 0..3 {
            let response = send(&client, Provider::OpenAi).await.unwrap();
            response.into_body().collect().await.unwrap();
            // The end of the body gives the connection back to the pool in another task.
            tokio::task::yield_now().await;
            if round == 1 {
                // Once this connection's end has been seen, so has that of the pooled one.
                let mut after = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                assert_eq!(after.read(&mut [0]).await.unwrap(), 0);
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_request_that_was_sent_is_never_sent_again() {
    let (listener, client) = provider().await;
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        request(&mut socket).await;
        socket.write_all(ANSWER).await.unwrap();
        request(&mut socket).await;
        drop(socket);
    };
    let ask = async {
        let response = send(&client, Provider::OpenAi).await.unwrap();
        response.into_body().collect().await.unwrap();
        tokio::task::yield_now().await;
        send(&client, Provider::OpenAi).await.unwrap_err()
    };
    let ((), error) = tokio::join!(serve, ask);
    assert!(matches!(error, UpstreamError::Broken(Provider::OpenAi, _)), "{error}");
}

#[tokio::test]
async fn a_provider_that_cannot_be_asked_is_told_apart() {
    let (listener, client) = provider().await;
    drop(listener);
    let error = send(&client, Provider::OpenAi).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Connect(Provider::OpenAi, _)), "{error}");
    let error = send(&client, Provider::XAi).await.unwrap_err();
    assert!(matches!(error, UpstreamError::NoKey(Provider::XAi)), "{error}");
    assert!(client.has_key(Provider::OpenAi) && !client.has_key(Provider::XAi));
    let error = client.send(Provider::OpenAi, "/a b", &HeaderMap::new(), Vec::new()).await;
    assert!(matches!(error, Err(UpstreamError::BadRequest(Provider::OpenAi, _))));
}

#[tokio::test]
async fn a_silent_provider_is_given_up() {
    let (listener, client) = provider().await;
    let client = client.with_head_timeout(Duration::from_millis(50));
    let error = send(&client, Provider::OpenAi).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Silent(Provider::OpenAi, _)), "{error}");
    drop(listener);
}

#[test]
fn a_key_is_not_shown() {
    assert!(!format!("{:?}", client("127.0.0.1:1")).contains("sk-openai"));
}

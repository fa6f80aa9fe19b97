//! The client against a provider of a few lines on a raw socket.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::Secret;

fn providers(origin: &str) -> Providers {
    let one = |key: &str| ProviderConfig {
        api_key: Some(Secret::new(key)),
        base_url: origin.parse().unwrap(),
    };
    let xai = ProviderConfig { api_key: None, ..one("") };
    let (openai, anthropic, google) = (one("sk-openai"), one("sk-anthropic"), one("sk-google"));
    Providers { openai, anthropic, google, xai }
}

fn client(origin: &str) -> Upstream {
    Upstream::new(&providers(origin), NonZeroUsize::MIN).unwrap()
}

async fn provider() -> (TcpListener, Upstream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    (listener, client(&origin))
}

/// Reads one request whose body is `{}`.
async fn request(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n{}") {
        assert_ne!(socket.read_buf(&mut text).await.unwrap(), 0, "the client hung up");
    }
    String::from_utf8(text).unwrap()
}

/// Answers one request on one connection, and closes it; what the request was.
async fn serve(listener: &TcpListener, answer: &[u8]) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let text = request(&mut socket).await;
    socket.write_all(answer).await.unwrap();
    text
}

async fn send(client: &Upstream, provider: Provider) -> Result<Response<Body>, UpstreamError> {
    let body = vec![Bytes::from_static(b"{"), Bytes::from_static(b"}")];
    client.send(provider, "/v1/x?beta=true", &HeaderMap::new(), body).await
}

async fn read(response: Response<Body>) -> Bytes {
    collect(response.into_body(), 1 << 20, |_| {}).await.unwrap()
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
        let (text, response) = tokio::join!(serve(&listener, ANSWER), send(&client, provider_name));
        let body = read(response.unwrap()).await;
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
            read(response).await;
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
        read(response).await;
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

#[tokio::test]
async fn nothing_hides_behind_a_path() {
    let (listener, client) = provider().await;
    let (caller, body) = (HeaderMap::new(), vec![Bytes::from_static(b"{}")]);
    let ask = client.send(Provider::OpenAi, "/v1/x#\r\nx-smuggled: 1", &caller, body);
    let (text, response) = tokio::join!(serve(&listener, ANSWER), ask);
    assert_eq!(read(response.unwrap()).await, "ok");
    assert!(text.starts_with("POST /v1/x HTTP/1.1\r\nhost: "), "{text}");
    assert!(!text.contains("smuggled"), "{text}");
}

#[tokio::test]
async fn a_body_comes_piece_by_piece_and_ends_as_its_head_says() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n";
    let (listener, client) = provider().await;
    let (go, mut gone) = tokio::sync::mpsc::unbounded_channel();
    let provide = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        request(&mut socket).await;
        for piece in [chunked.as_slice(), b"1\r\nc", b"\r\n0\r\n", b"\r\n"] {
            socket.write_all(piece).await.unwrap();
            gone.recv().await.unwrap();
        }
        // The same connection is asked again.
        request(&mut socket).await;
        socket.write_all(ANSWER).await.unwrap();
    };
    let ask = async {
        let mut body = send(&client, Provider::OpenAi).await.unwrap().into_body();
        for expected in ["ab", "c"] {
            assert_eq!(body.data().await.unwrap().unwrap(), expected);
            go.send(()).unwrap();
        }
        go.send(()).unwrap();
        assert!(body.data().await.is_none());
        assert!(body.data().await.is_none());
        go.send(()).unwrap();
        assert_eq!(read(send(&client, Provider::OpenAi).await.unwrap()).await, "ok");
    };
    tokio::join!(provide, ask);
}

#[tokio::test]
async fn a_body_without_an_end_of_its_own_ends_with_its_connection() {
    let (listener, client) = provider().await;
    let answer = b"HTTP/1.1 200 OK\r\n\r\nall of it";
    let ask = async { read(send(&client, Provider::OpenAi).await.unwrap()).await };
    let (_, body) = tokio::join!(serve(&listener, answer), ask);
    assert_eq!(body, "all of it");
}

#[tokio::test]
async fn what_breaks_off_or_is_no_http_is_an_error_once() {
    let cut: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokX",
    ];
    for answer in cut {
        let (listener, client) = provider().await;
        let ask = async {
            let mut body = send(&client, Provider::OpenAi).await.unwrap().into_body();
            let mut all = Vec::new();
            while let Some(data) = body.data().await {
                all.push(data.ok());
            }
            all
        };
        let (_, all) = tokio::join!(serve(&listener, answer), ask);
        let text = String::from_utf8_lossy(answer);
        assert_eq!(all, [Some("ok".into()), None], "{text}");
    }
    let none: &[&[u8]] =
        &[b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 101 X\r\n\r\n"];
    for answer in none {
        let (listener, client) = provider().await;
        let ask = send(&client, Provider::OpenAi);
        let (_, answered) = tokio::join!(serve(&listener, answer), ask);
        let error = answered.unwrap_err();
        assert!(matches!(error, UpstreamError::Broken(Provider::OpenAi, _)), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_trusted_is_not_used_again() {
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ];
    for answer in answers {
        let (listener, client) = provider().await;
        let provide = async {
            // Both are open at once.
            let (mut first, _) = listener.accept().await.unwrap();
            request(&mut first).await;
            first.write_all(answer).await.unwrap();
            serve(&listener, ANSWER).await;
        };
        let ask = async {
            for _ in 0..2 {
                assert_eq!(read(send(&client, Provider::OpenAi).await.unwrap()).await, "ok");
            }
        };
        tokio::join!(provide, ask);
    }
}

#[tokio::test]
async fn an_answer_may_come_before_all_of_a_large_request_is_taken() {
    let (listener, client) = provider().await;
    let refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
    let provide = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        // What the sockets' buffers hold is far less than the body.
        assert_ne!(socket.read(&mut [0; 1024]).await.unwrap(), 0);
        socket.write_all(refusal).await.unwrap();
        // The connection with a part of a request on it is not used for another.
        serve(&listener, ANSWER).await;
    };
    let ask = async {
        let large = vec![Bytes::from(vec![b' '; 64 << 20])];
        let caller = HeaderMap::new();
        let response = client.send(Provider::OpenAi, "/v1/x", &caller, large).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(read(response).await, "no");
        assert_eq!(client.target(Provider::OpenAi).first.idle_count(), 0, "nor kept");
        assert_eq!(read(send(&client, Provider::OpenAi).await.unwrap()).await, "ok");
    };
    tokio::join!(provide, ask);
}

#[tokio::test]
async fn a_large_request_arrives_whole() {
    let (listener, client) = provider().await;
    let pieces = [vec![b'a'; 3 << 20], vec![b'b'; 100], vec![b'c'; 2 << 20]];
    let expected = pieces.concat();
    let provide = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"c") || text.len() < expected.len() {
            assert_ne!(socket.read_buf(&mut text).await.unwrap(), 0);
        }
        socket.write_all(ANSWER).await.unwrap();
        text
    };
    let body = pieces.map(Bytes::from).to_vec();
    let caller = HeaderMap::new();
    let ask = client.send(Provider::OpenAi, "/v1/x", &caller, body);
    let (text, response) = tokio::join!(provide, ask);
    assert_eq!(read(response.unwrap()).await, "ok");
    let head = text.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    assert!(text[head + 4..] == expected);
}

#[tokio::test]
async fn upkeep_closes_what_is_idle_for_long() {
    let (listener, client) = provider().await;
    let provide = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        request(&mut socket).await;
        socket.write_all(ANSWER).await.unwrap();
        socket
    };
    let ask = async { read(send(&client, Provider::OpenAi).await.unwrap()).await };
    let (mut socket, _) = tokio::join!(provide, ask);
    let target = client.target(Provider::OpenAi);
    client.upkeep(Instant::now());
    assert_eq!(target.first.idle_count(), 1);
    client.upkeep(Instant::now() + IDLE_TIMEOUT);
    assert_eq!(target.first.idle_count(), 0);
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "it is closed");
}

/// A provider behind TLS, and a client that trusts it.
async fn tls_provider() -> (TcpListener, TlsAcceptor, Upstream) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let ring = || Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(ring())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key.try_into().unwrap())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).unwrap();
    let trusting = rustls::ClientConfig::builder_with_provider(ring())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let https = HttpsConnectorBuilder::new().with_tls_config(trusting);
    let client = Upstream::over(https, &providers(&origin), NonZeroUsize::MIN).unwrap();
    (listener, TlsAcceptor::from(Arc::new(server)), client)
}

#[tokio::test]
async fn tls_carries_large_requests_and_its_connection_is_used_again() {
    let (listener, acceptor, client) = tls_provider().await;
    let large = vec![Bytes::from(vec![b'a'; 3 << 20]), Bytes::from(vec![b'z'; 2 << 20])];
    let expected: usize = large.iter().map(Bytes::len).sum();
    let provide = async {
        for _ in 0..2 {
            let (socket, _) = listener.accept().await.unwrap();
            let mut socket = acceptor.accept(socket).await.unwrap();
            request(&mut socket).await;
            socket.write_all(ANSWER).await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"z") || text.len() < expected {
                assert_ne!(socket.read_buf(&mut text).await.unwrap(), 0);
            }
            socket.write_all(ANSWER).await.unwrap();
            // Says goodbye; the client sees it before it asks again.
            socket.shutdown().await.unwrap();
        }
    };
    let ask = async {
        for _ in 0..2 {
            assert_eq!(read(send(&client, Provider::OpenAi).await.unwrap()).await, "ok");
            let (body, caller) = (large.clone(), HeaderMap::new());
            let response = client.send(Provider::OpenAi, "/v1/x", &caller, body).await;
            assert_eq!(read(response.unwrap()).await, "ok");
            // The goodbye has come when nothing is left to be used.
            while client.target(Provider::OpenAi).first.idle_count() > 0 {
                client.upkeep(Instant::now());
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::join!(provide, ask);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_gets_no_request() {
    let (listener, acceptor, _) = tls_provider().await;
    let client = client(&format!("https://localhost:{}", listener.local_addr().unwrap().port()));
    let provide = async {
        let (socket, _) = listener.accept().await.unwrap();
        acceptor.accept(socket).await.unwrap_err();
    };
    let ((), answered) = tokio::join!(provide, send(&client, Provider::OpenAi));
    let error = answered.unwrap_err();
    assert!(matches!(error, UpstreamError::Connect(Provider::OpenAi, _)), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn a_key_is_not_shown() {
    assert!(!format!("{:?}", client("http://127.0.0.1:1")).contains("sk-openai"));
}

//! The endpoint of an identity provider, as small as it can be.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_auth::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) delay: Duration,
}

struct State {
    answer: Answer,
    requests: usize,
}

/// Ends when dropped; the port can be had again.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

pub(crate) fn key_set(keys: &[Value]) -> Answer {
    Answer { status: 200, body: json!({"keys": keys}).to_string(), delay: Duration::ZERO }
}

impl Provider {
    pub(crate) async fn start(answer: Answer) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), answer).await
    }

    pub(crate) async fn start_at(address: SocketAddr, answer: Answer) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { answer, requests: 0 }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.state.lock().unwrap().answer = answer;
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("http://{}/keys?version=1", self.address)).unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    assert!(request.starts_with(b"GET /keys?version=1 HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
    let answer = {
        let mut state = state.lock().unwrap();
        state.requests += 1;
        state.answer.clone()
    };
    tokio::time::sleep(answer.delay).await;
    let head = format!("HTTP/1.1 {} .\r\ncontent-length: {}\r\n\r\n", answer.status, answer.body.len());
    // The peer may have had enough.
    let _ = stream.write_all(format!("{head}{}", answer.body).as_bytes()).await;
}

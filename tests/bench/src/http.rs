//! One connection to a server: HTTP/1.1, one request at a time, as a load generator has many of.

use std::net::{Ipv4Addr, SocketAddr};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

use crate::Failure;

pub struct Client {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    /// Shown with each request.
    token: Option<HeaderValue>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Self::over(TcpStream::connect(address).await?, address).await
    }

    /// The same from another address of this machine.
    pub async fn connect_from(from: Ipv4Addr, address: SocketAddr) -> Result<Self, Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        Self::over(socket.connect(address).await?, address).await
    }

    async fn over(stream: TcpStream, address: SocketAddr) -> Result<Self, Failure> {
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender, or with an error that the sender meets, too.
        tokio::spawn(connection);
        Ok(Self { address, sender, token: None })
    }

    /// The same, as somebody who has this token.
    pub fn showing(self, token: &str) -> Result<Self, Failure> {
        Ok(Self { token: Some(HeaderValue::from_str(&format!("Bearer {token}"))?), ..self })
    }

    pub async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        let request = Request::get(path).header(header::HOST, self.address.to_string());
        self.answer(request.body(Full::default())?).await
    }

    /// Posts JSON under an idempotency key.
    pub async fn post(&mut self, path: &str, key: &str, body: Bytes) -> Result<(StatusCode, Bytes), Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key);
        self.answer(request.body(Full::new(body))?).await
    }

    async fn answer(&mut self, mut request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Failure> {
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

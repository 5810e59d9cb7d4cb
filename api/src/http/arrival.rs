//! How a request came here: on which connection, through which proxy, from whose address, and for which host.
//!
//! A proxy says in headers what it knows of the caller before it. Anybody can write these headers, so they are believed from
//! the proxies that the operator has named, and ignored from everybody else.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::{self, FromStr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, header,
        uri::{Authority, Scheme},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use ipnet::IpNet;

use crate::http::{
    admission::Hosts,
    authentication::Peer,
    bounds::ANSWERED_WITHIN,
    connections::PATIENCE,
    cors::Origins,
    error::ApiError,
    header::{malformed, single_text},
};

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";

/// A browser that has seen this asks by `https` only, for a year.
const ENCRYPTED_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What a load balancer asks before it sends anybody here. Nothing secret is in it.
const SIGNS_OF_LIFE: [&str; 2] = ["/livez", "/readyz"];

/// How callers reach the server.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The names by which they do, besides its addresses.
    pub hosts: Hosts,
    /// Whose pages may ask, besides its own.
    pub origins: Origins,
    /// Who may speak for others.
    pub proxies: Proxies,
    /// Whether they do by encrypted connections alone.
    pub encrypted: bool,
    /// How long an answer may take from the head of its request on.
    pub answered_within: Duration,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            hosts: Hosts::default(),
            origins: Origins::default(),
            proxies: Proxies::default(),
            encrypted: false,
            answered_within: PATIENCE + ANSWERED_WITHIN,
        }
    }
}

impl From<Hosts> for Edge {
    fn from(hosts: Hosts) -> Self {
        Self { hosts, ..Self::default() }
    }
}

/// The proxies that the operator has named, by their addresses.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn include(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Proxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let networks: Vec<IpNet> = text.split(',').map(proxy).collect::<Result<_, _>>()?;
        Ok(Self::new(&networks))
    }
}

/// The address of a proxy, or the network of several.
pub fn proxy(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => text
            .parse()
            .map_err(|_| "a proxy is named by its address or its network, such as 10.0.0.7 or 10.0.0.0/24")?,
    };
    match network {
        network if network.prefix_len() == 0 => {
            Err("that network is everybody: name the addresses of the proxies".into())
        }
        IpNet::V6(network) if network.network().to_ipv4_mapped().is_some() => {
            Err("a network of IPv4 is written as one of IPv4, such as 10.0.0.0/24".into())
        }
        network => Ok(network.trunc()),
    }
}

/// The connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub peer: IpAddr,
    pub wire: Wire,
}

/// Whether others can read what goes through a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// They can, and the server does not encrypt.
    Plain,
    Encrypted,
    /// They can, although the server encrypts: the caller does not.
    Unencrypted,
}

/// What is known of the way of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Of the caller.
    pub address: IpAddr,
    /// By which the caller asked, if that is known: a proxy that nobody has named may have ended TLS on this machine.
    pub scheme: Option<Scheme>,
    /// The host that the caller asked, if a proxy says so.
    pub host: Option<Authority>,
}

/// The layer that finds out how a request came here, and refuses what must not come so.
pub async fn arrive(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<Connection>().copied();
    // Without a connection of ours a test asks.
    let connection = connection.unwrap_or(Connection { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), wire: Wire::Plain });
    let is_sign_of_life = SIGNS_OF_LIFE.contains(&request.uri().path());
    let arrival = match Arrival::of(&edge, connection, request.headers(), is_sign_of_life) {
        Ok(arrival) => arrival,
        Err(error) => {
            let mut response = error.into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    let by_name = arrival.host.clone().or_else(|| {
        let host = request.headers().get(header::HOST)?;
        Authority::try_from(host.as_bytes()).ok()
    });
    let is_https = arrival.scheme == Some(Scheme::HTTPS);
    request.extensions_mut().insert(Peer(arrival.address));
    request.extensions_mut().insert(arrival);
    let mut response = next.run(request).await;
    // Browsers keep it for the host with all its ports: `localhost` has other servers, too.
    if is_https && by_name.is_some_and(|host| edge.hosts.name(host.host())) {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, ENCRYPTED_ONLY);
    }
    response
}

impl Arrival {
    fn of(
        edge: &Edge,
        Connection { peer, wire }: Connection,
        headers: &HeaderMap,
        is_sign_of_life: bool,
    ) -> Result<Self, ApiError> {
        // A listener of both families shows callers by IPv4 as addresses of IPv6.
        let peer = peer.to_canonical();
        if wire == Wire::Unencrypted {
            let detail =
                "this server speaks TLS here: write `https://`. What was sent without it may have been read on its way";
            return Err(ApiError::new("encryption-needed", detail));
        }
        if !edge.proxies.include(peer) {
            if wire == Wire::Plain && !edge.proxies.is_empty() && !peer.is_loopback() {
                let detail =
                    format!("this server is reached through its proxies, and {peer} is none of them (--proxies)");
                return Err(ApiError::new("proxy-needed", detail));
            }
            let scheme = (wire == Wire::Encrypted).then_some(Scheme::HTTPS);
            return Ok(Self { address: peer, scheme, host: None });
        }
        let scheme = forwarded_proto(headers)?;
        if edge.encrypted && scheme != Some(Scheme::HTTPS) && !is_sign_of_life {
            let said = scheme.map_or("does not say how its caller asked".to_owned(), |scheme| {
                format!("says that its caller asked by `{scheme}`")
            });
            let detail = format!(
                "the proxy {peer} {said}: it must take `https` alone, and send `X-Forwarded-Proto: https` along"
            );
            return Err(ApiError::new("encryption-needed", detail));
        }
        let address = match forwarded_for(headers, &edge.proxies)? {
            Some(address) => address,
            None if is_sign_of_life => peer,
            None => {
                let detail = format!("the proxy {peer} does not say who asks: it must send `X-Forwarded-For` along");
                return Err(malformed(FORWARDED_FOR, detail));
            }
        };
        Ok(Self { address, scheme, host: forwarded_host(headers)? })
    }
}

/// The address nearest to the server that is of no named proxy: what stands before it, the caller may have written. If all
/// are of proxies, the first of them asks. Empty entries count for nothing.
fn forwarded_for(headers: &HeaderMap, proxies: &Proxies) -> Result<Option<IpAddr>, ApiError> {
    let mut first = None;
    let lines = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).rev();
    let entries = lines.flat_map(|line| line.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let address = str::from_utf8(entry).ok().and_then(address);
        let address =
            address.ok_or_else(|| malformed(FORWARDED_FOR, "an entry that a named proxy wrote is no IP address"))?;
        if !proxies.include(address) {
            return Ok(Some(address));
        }
        first = Some(address);
    }
    Ok(first)
}

/// An address with or without its port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => text.parse().or_else(|_| text.parse().map(|of: SocketAddr| of.ip())).ok()?,
    };
    Some(address.to_canonical())
}

/// A proxy sets this header and the next one, and adds nothing to what others sent.
fn forwarded_proto(headers: &HeaderMap) -> Result<Option<Scheme>, ApiError> {
    let Some(text) = single_text(headers, FORWARDED_PROTO)? else { return Ok(None) };
    match text.trim().to_ascii_lowercase().as_str() {
        "https" => Ok(Some(Scheme::HTTPS)),
        "http" => Ok(Some(Scheme::HTTP)),
        _ => Err(malformed(FORWARDED_PROTO, "it is `https` or `http`, once")),
    }
}

fn forwarded_host(headers: &HeaderMap) -> Result<Option<Authority>, ApiError> {
    let Some(text) = single_text(headers, FORWARDED_HOST)?.map(str::trim) else { return Ok(None) };
    match text.parse::<Authority>() {
        Ok(host) if !text.contains(['@', ',']) => Ok(Some(host)),
        _ => Err(malformed(FORWARDED_HOST, "a host is written as `name` or `name:port`, once")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    const PROXY: &str = "10.0.0.7";

    fn edge() -> Edge {
        let proxies = format!("{PROXY}, 192.168.0.0/16,2001:db8:1::/48").parse().expect("proxies");
        Edge { proxies, encrypted: true, ..Edge::default() }
    }

    fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers
                .append(HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("the value of a header"));
        }
        headers
    }

    fn on(peer: &str, wire: Wire) -> Connection {
        Connection { peer: peer.parse().expect("an address"), wire }
    }

    fn arrives(connection: Connection, lines: &[(&'static str, &[u8])]) -> Result<Arrival, (&'static str, String)> {
        Arrival::of(&edge(), connection, &headers(lines), false)
            .map_err(|error| (error.code(), error.detail().to_owned()))
    }

    /// Whose address is believed where a named proxy sends these lines of `X-Forwarded-For`.
    fn caller(lines: &[&[u8]]) -> Result<String, &'static str> {
        let mut all: Vec<(&'static str, &[u8])> = vec![("x-forwarded-proto", b"https")];
        all.extend(lines.iter().map(|line| ("x-forwarded-for", *line)));
        arrives(on(PROXY, Wire::Plain), &all).map(|arrival| arrival.address.to_string()).map_err(|(code, _)| code)
    }

    #[test]
    fn the_caller_is_the_last_address_that_is_of_no_named_proxy() {
        for (lines, expected) in [
            (&[&b"203.0.113.5"[..]][..], "203.0.113.5"),
            // The caller itself wrote the entries before its address.
            (&[b"127.0.0.1, 203.0.113.5"], "203.0.113.5"),
            (&[b"198.51.100.1", b"203.0.113.5"], "203.0.113.5"),
            (&[b"rubbish, <script>, \xff, 203.0.113.5"], "203.0.113.5"),
            // Proxies of the operator's own follow.
            (&[b"198.51.100.1, 203.0.113.5, 192.168.4.4, 10.0.0.7"], "203.0.113.5"),
            (&[b"203.0.113.5", b"2001:db8:1::9"], "203.0.113.5"),
            // All are proxies: the first of them asks.
            (&[b"192.168.1.1, 192.168.1.2"], "192.168.1.1"),
            // With ports, and as IPv6 in its forms.
            (&[b"203.0.113.5:4711"], "203.0.113.5"),
            (&[b"2001:db8::5"], "2001:db8::5"),
            (&[b"[2001:DB8::5]"], "2001:db8::5"),
            (&[b"[2001:db8::5]:4711"], "2001:db8::5"),
            (&[b"::ffff:203.0.113.5"], "203.0.113.5"),
            (&[b"203.0.113.5,::ffff:192.168.1.2"], "203.0.113.5"),
            // Empty entries are none.
            (&[b" , 203.0.113.5 ,, ", b""], "203.0.113.5"),
        ] {
            assert_eq!(caller(lines).as_deref(), Ok(expected), "{lines:?}");
        }
    }

    #[test]
    fn what_a_named_proxy_says_and_is_no_address_is_refused() {
        for lines in [
            &[&b"unknown"[..]][..],
            &[b"203.0.113.5, unknown"],
            &[b"203.0.113.5", b"_hidden"],
            &[b"203.0.113.5, \xff"],
            &[b"203.0.113.5 198.51.100.1"],
            &[b"203.0.113.256"],
            &[b"203.0.113.05"],
            &[b"203.0.113.5:99999"],
            &[b"[203.0.113.5]"],
            &[b"[2001:db8::5"],
            &[b"[2001:db8::5]4711"],
            &[b"fe80::1%eth0"],
            &[b"203.0.113.5, unknown, 192.168.1.2"],
            &[],
            &[b" , "],
        ] {
            assert_eq!(caller(lines), Err("malformed-header"), "{lines:?}");
        }
    }

    #[test]
    fn anybody_elses_headers_are_ignored() {
        let lies: &[(&'static str, &[u8])] =
            &[("x-forwarded-for", b"127.0.0.1"), ("x-forwarded-proto", b"https, \xff"), ("x-forwarded-host", b"a,b")];
        let expected =
            |address: &str, scheme| Ok(Arrival { address: address.parse().expect("an address"), scheme, host: None });
        assert_eq!(arrives(on("127.0.0.1", Wire::Plain), lies), expected("127.0.0.1", None));
        assert_eq!(arrives(on("::1", Wire::Plain), lies), expected("::1", None));
        let https = Some(Scheme::HTTPS);
        assert_eq!(arrives(on("203.0.113.5", Wire::Encrypted), lies), expected("203.0.113.5", https.clone()));
        assert_eq!(arrives(on("::ffff:203.0.113.5", Wire::Encrypted), lies), expected("203.0.113.5", https));
    }

    #[test]
    fn without_encryption_nobody_comes_but_proxies_and_this_machine() {
        let (code, detail) = arrives(on("203.0.113.5", Wire::Plain), &[]).expect_err("a stranger");
        assert_eq!(code, "proxy-needed");
        assert!(detail.contains("203.0.113.5") && detail.contains("--proxies") && !detail.contains(PROXY), "{detail}");
        for peer in ["203.0.113.5", PROXY, "127.0.0.1"] {
            assert_eq!(arrives(on(peer, Wire::Unencrypted), &[]).expect_err(peer).0, "encryption-needed");
        }
        let alone = Edge::default();
        let plain = Arrival::of(&alone, on("203.0.113.5", Wire::Plain), &HeaderMap::new(), false);
        assert!(plain.is_ok(), "without proxies the address to listen on keeps strangers away");
    }

    #[test]
    fn a_proxy_says_once_that_its_caller_asked_by_https() {
        let asked = |protos: &[&'static [u8]]| {
            let mut lines: Vec<(&'static str, &[u8])> = vec![("x-forwarded-for", b"203.0.113.5")];
            lines.extend(protos.iter().map(|proto| ("x-forwarded-proto", *proto)));
            arrives(on("::ffff:10.0.0.7", Wire::Plain), &lines).map(|arrival| arrival.scheme)
        };
        assert_eq!(asked(&[b"https"]), Ok(Some(Scheme::HTTPS)));
        assert_eq!(asked(&[b" HTTPS "]), Ok(Some(Scheme::HTTPS)));
        let (code, detail) = asked(&[b"http"]).expect_err("others could read it");
        assert_eq!(code, "encryption-needed");
        assert!(detail.contains("asked by `http`") && detail.contains("X-Forwarded-Proto: https"), "{detail}");
        let (code, detail) = asked(&[]).expect_err("nobody knows");
        assert_eq!(code, "encryption-needed");
        assert!(detail.contains("does not say how") && detail.contains("X-Forwarded-Proto: https"), "{detail}");
        for protos in
            [&[&b"https"[..], b"https"][..], &[b"https,http"], &[b"https, https"], &[b"wss"], &[b""], &[b"\xff"]]
        {
            assert_eq!(asked(protos).expect_err("it is not clear").0, "malformed-header", "{protos:?}");
        }
    }

    #[test]
    fn a_load_balancer_asks_by_itself_whether_the_server_lives() {
        let alive = Arrival::of(&edge(), on(PROXY, Wire::Plain), &HeaderMap::new(), true);
        assert_eq!(alive.expect("it may").address.to_string(), PROXY);
    }

    #[test]
    fn the_host_that_a_proxy_was_asked_for_stands_once() {
        let asked = |hosts: &[&'static [u8]]| {
            let mut lines: Vec<(&'static str, &[u8])> =
                vec![("x-forwarded-for", b"203.0.113.5"), ("x-forwarded-proto", b"https")];
            lines.extend(hosts.iter().map(|host| ("x-forwarded-host", *host)));
            let arrival = arrives(on(PROXY, Wire::Plain), &lines).map_err(|(code, _)| code)?;
            Ok(arrival.host.map(|host| host.to_string()))
        };
        assert_eq!(asked(&[]), Ok(None));
        assert_eq!(asked(&[b"billing.example"]), Ok(Some("billing.example".into())));
        assert_eq!(asked(&[b"[2001:db8::5]:8443"]), Ok(Some("[2001:db8::5]:8443".into())));
        for hosts in [
            &[&b"a.example"[..], b"b.example"][..],
            &[b"a.example, b.example"],
            &[b"user@a.example"],
            &[b"https://a.example"],
            &[b"a.example/path"],
            &[b""],
            &[b"\xff"],
        ] {
            assert_eq!(asked(hosts), Err("malformed-header"), "{hosts:?}");
        }
    }

    #[test]
    fn a_proxy_is_named_by_an_address_or_a_network() {
        for (text, expected) in [
            ("10.0.0.7", "10.0.0.7/32"),
            (" 10.0.0.7/24 ", "10.0.0.0/24"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.7", "10.0.0.7/32"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(proxy(text).map(|network| network.to_string()).as_deref(), Ok(expected));
        }
        for text in ["", "proxy.example", "10.0.0", "10.0.0.0/33", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "*"] {
            assert!(proxy(text).is_err(), "{text}");
        }
    }
}

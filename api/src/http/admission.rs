//! What every request must keep to before a handler sees it: whom it addresses, which page sent it, and how it is written.
//!
//! A browser sends what any page asks it to, also to a server that only this machine reaches. So a request must name this
//! server (otherwise a name that leads here for a moment would make a foreign page one of ours: DNS rebinding), and one
//! that may change something must not come from the page of another site (cross-site request forgery).

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, Uri, Version, header,
        uri::{Authority, Scheme},
    },
    middleware::Next,
    response::Response,
};
use percent_encoding::percent_decode_str;

use crate::http::{
    arrival::{Arrival, Edge},
    authentication::MEMBERSHIP,
    caller::ON_BEHALF_OF,
    error::{ApiError, shortened},
    header::{malformed, single},
    layers::REQUEST_ID,
    read::MIN_POSITION,
    write::IDEMPOTENCY_KEY,
};

const SEC_FETCH_SITE: &str = "sec-fetch-site";
pub const SEC_FETCH_MODE: &str = "sec-fetch-mode";

/// Headers of which every request has one at most.
const SINGLE: [&str; 12] = [
    "host",
    "origin",
    "content-type",
    "content-encoding",
    SEC_FETCH_SITE,
    SEC_FETCH_MODE,
    REQUEST_ID,
    IDEMPOTENCY_KEY,
    "authorization",
    MEMBERSHIP,
    ON_BEHALF_OF,
    MIN_POSITION,
];

/// The names by which this server is reached. An IP address is always one, since no name has to lead to it, and so is
/// `localhost`.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Arc<[String]>);

impl Hosts {
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    fn include(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        address.parse::<IpAddr>().is_ok() || host == "localhost" || self.0.contains(&host)
    }

    /// Whether the operator gave it this name.
    pub fn name(&self, host: &str) -> bool {
        self.0.contains(&host.trim_end_matches('.').to_ascii_lowercase())
    }
}

/// The layer that refuses what does not keep to it.
pub async fn admit(State(edge): State<Edge>, request: Request, next: Next) -> Result<Response, ApiError> {
    let headers = request.headers();
    for name in SINGLE {
        single(headers, name)?;
    }
    let own = host(&request)?;
    let arrival = request.extensions().get::<Arrival>();
    // A proxy may ask the server by another name than it was asked by itself.
    let host = arrival.and_then(|arrival| arrival.host.as_ref()).or(own.as_ref());
    if let Some(host) = host {
        addressed(&edge.hosts, host)?;
    }
    // A page of another site may ask for what changes nothing; it cannot read the answer.
    if !request.method().is_safe() && !edge.origins.ask(headers) {
        let scheme = arrival.and_then(|arrival| arrival.scheme.as_ref());
        from_the_same_site(headers, Site { scheme, host, hosts: &edge.hosts })?;
    }
    is_text(request.uri())?;
    Ok(next.run(request).await)
}

/// The server that the request names; one in HTTP/1.0 may name none.
fn host(request: &Request) -> Result<Option<Authority>, ApiError> {
    let target = request.uri().authority();
    match request.headers().get(header::HOST) {
        None if let Some(target) = target => Ok(Some(target.clone())),
        Some(host)
            if target.is_some_and(|target| !host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes())) =>
        {
            Err(malformed("host", "the request addresses two hosts"))
        }
        None if request.version() < Version::HTTP_11 => Ok(None),
        None => Err(malformed("host", "the request does not say whom it addresses")),
        Some(host) => match Authority::try_from(host.as_bytes()) {
            Ok(host) if !host.as_str().contains('@') => Ok(Some(host)),
            _ => Err(malformed("host", "a host is written as `name` or `name:port`")),
        },
    }
}

fn addressed(hosts: &Hosts, host: &Authority) -> Result<(), ApiError> {
    if hosts.include(host.host()) {
        return Ok(());
    }
    let name = shortened(host.host());
    let detail = format!("this server is not known as `{name}`: its operator names it with --hosts");
    Err(ApiError::new("unknown-host", detail).with("host", name))
}

/// What the pages of this server are, as browsers see them.
struct Site<'a> {
    /// If it is known.
    scheme: Option<&'a Scheme>,
    host: Option<&'a Authority>,
    hosts: &'a Hosts,
}

impl Site<'_> {
    fn is_that_of(&self, origin: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (origin.scheme(), origin.authority()) else { return false };
        // A proxy may have changed the host or left out the port; it is then one of the names that the operator gave.
        let is_host = |host: &Authority| {
            host.host().eq_ignore_ascii_case(authority.host())
                && port(host, self.scheme) == port(authority, self.scheme)
        };
        self.scheme.is_none_or(|own| own == scheme)
            && (self.host.is_some_and(is_host) || self.hosts.name(authority.host()))
    }
}

/// The port that is asked: browsers leave out the usual one of the scheme.
fn port(host: &Authority, scheme: Option<&Scheme>) -> Option<u16> {
    let usual = scheme.map(|scheme| if *scheme == Scheme::HTTPS { 443 } else { 80 });
    host.port_u16().or(usual)
}

/// Browsers say where a request comes from; programs need not. `Origin` is compared where a browser is too old for
/// `Sec-Fetch-Site`. Its scheme is compared where it is known by which one the caller asked: a proxy on this machine that
/// the operator has not named may have ended TLS before the server.
fn from_the_same_site(headers: &HeaderMap, site: Site<'_>) -> Result<(), ApiError> {
    let foreign = || ApiError::new("cross-site-request", "a page of another site may not change anything here");
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        // `none`: somebody typed the address, or it is no page that asks.
        return if site == "same-origin" || site == "none" { Ok(()) } else { Err(foreign()) };
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = Uri::try_from(origin.as_bytes()).ok();
    if origin.is_some_and(|origin| site.is_that_of(&origin)) { Ok(()) } else { Err(foreign()) }
}

/// What is percent-encoded is UTF-8, so that no two addresses mean the same by what cannot be read.
fn is_text(uri: &Uri) -> Result<(), ApiError> {
    match percent_decode_str(uri.query().unwrap_or_default()).decode_utf8() {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::new("malformed-parameter", "the query is not UTF-8, percent-encoded")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(outcome: Result<(), ApiError>) -> &'static str {
        outcome.map_or_else(|error| error.code(), |()| "")
    }

    #[test]
    fn a_server_is_known_by_its_addresses_and_the_names_that_it_was_given() {
        let hosts = Hosts::new(&["Billing.example".into()]);
        let asked = |host: &str| code(addressed(&hosts, &host.parse().expect("a host")));
        for known in ["127.0.0.1:8080", "[::1]:8080", "192.0.2.7", "localhost", "LOCALHOST:1"] {
            assert_eq!(asked(known), "", "{known}");
        }
        for known in ["billing.example", "billing.EXAMPLE:8443", "billing.example."] {
            assert_eq!(asked(known), "", "{known}");
        }
        for foreign in ["rebound.example:8080", "127.0.0.1.example", "localhost.example", "a.localhost", "0x7f.1"] {
            assert_eq!(asked(foreign), "unknown-host", "{foreign}");
        }
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let host: Authority = "billing.example:8443".parse().expect("a host");
        let asked = |headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (name.parse().expect("a name of a header"), value.parse().expect("a value of a header"))
            });
            let site = Site { scheme: None, host: Some(&host), hosts: &Hosts::new(&["public.example".into()]) };
            code(from_the_same_site(&headers.collect(), site))
        };
        assert_eq!(asked(&[]), "", "no browser asks");
        for same in ["https://billing.example:8443", "http://billing.example:8443"] {
            assert_eq!(asked(&[("origin", same)]), "", "{same}");
        }
        for other in ["https://billing.example", "https://evil.example:8443", "null", "billing.example:8443x", ""] {
            assert_eq!(asked(&[("origin", other)]), "cross-site-request", "{other}");
        }
        // As an operator says that it is reached, whatever a proxy makes of the host.
        assert_eq!(asked(&[("origin", "https://public.example:8443")]), "");
        for (site, expected) in [("same-origin", ""), ("none", ""), ("cross-site", "cross-site-request")] {
            assert_eq!(asked(&[("sec-fetch-site", site)]), expected);
            // The browser knows better.
            assert_eq!(asked(&[("sec-fetch-site", site), ("origin", "https://public.example")]), expected);
        }
        assert_eq!(asked(&[("sec-fetch-site", "same-site")]), "cross-site-request");
    }
    #[test]
    fn an_origin_is_compared_by_its_scheme_where_that_is_known() {
        let hosts = Hosts::new(&["public.example".into()]);
        let asked = |scheme: &Scheme, host: &str, origin: &str| {
            let headers = [(header::ORIGIN, origin.parse().expect("a value of a header"))].into_iter().collect();
            let host: Authority = host.parse().expect("a host");
            code(from_the_same_site(&headers, Site { scheme: Some(scheme), host: Some(&host), hosts: &hosts }))
        };
        for (scheme, host, origin, expected) in [
            (&Scheme::HTTPS, "billing.example", "https://billing.example", ""),
            (&Scheme::HTTPS, "BILLING.example", "https://billing.example", ""),
            (&Scheme::HTTPS, "billing.example:443", "https://billing.example", ""),
            (&Scheme::HTTPS, "billing.example", "https://billing.example:443", ""),
            (&Scheme::HTTP, "billing.example:80", "http://billing.example", ""),
            (&Scheme::HTTPS, "public.example", "https://public.example:8443", ""),
            (&Scheme::HTTPS, "billing.example", "http://billing.example", "cross-site-request"),
            (&Scheme::HTTPS, "billing.example:443", "http://billing.example:443", "cross-site-request"),
            (&Scheme::HTTPS, "billing.example:80", "https://billing.example", "cross-site-request"),
            (&Scheme::HTTP, "billing.example", "https://billing.example", "cross-site-request"),
            (&Scheme::HTTPS, "public.example", "http://public.example", "cross-site-request"),
        ] {
            assert_eq!(asked(scheme, host, origin), expected, "{scheme} {host} {origin}");
        }
    }
}

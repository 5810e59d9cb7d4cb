//! How many requests somebody may send in a minute: there is a bucket for each user, by whatever token or session, and one
//! for each network of those who have not signed in.
//!
//! The buckets are of this process and in its memory. What a bucket holds comes back evenly, so that nobody gains by the
//! turn of a minute.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use daybook_identity::network;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::HashMapStateStore,
};

use crate::http::{authentication::Authenticated, error::ApiError};

pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// In seconds.
const WINDOW: u32 = 60;

/// So many buckets are kept at most, about 10 MiB of them.
const MOST: usize = 50_000;

/// How many requests are answered in a minute; 0 for as many as come.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateOptions {
    pub of_principal: u32,
    pub of_address: u32,
}

/// What is answered to everybody alike.
const SAME_FOR_ALL: [&str; 8] =
    ["/assets", "/docs", "/livez", "/log", "/metrics", "/openapi.json", "/problems", "/readyz"];

#[derive(Debug)]
pub struct Rates {
    principals: Option<Buckets>,
    networks: Option<Buckets>,
}

impl Rates {
    pub fn new(options: RateOptions) -> Self {
        Self {
            principals: NonZeroU32::new(options.of_principal).map(|quota| Buckets::new("default", quota, MOST)),
            networks: NonZeroU32::new(options.of_address).map(|quota| Buckets::new("address", quota, MOST)),
        }
    }

    /// Counts a request. What is not counted has no standing: programs of the ledger's own, and what is the same for
    /// everybody, such as the signs of life, the documentation and the transparency log.
    ///
    /// Of one network, strangers, those whose token or session is not valid, and gateways are counted apart: a program that goes
    /// on with a revoked token takes nobody's sign-in, and notices come in bursts, as many as a user may send.
    pub fn count(&self, path: &str, found: Option<&Authenticated>, shows: bool, address: IpAddr) -> Option<Standing> {
        let is_of_the_log = path.starts_with("/log/") && found.is_some();
        if !is_of_the_log
            && SAME_FOR_ALL
                .iter()
                .any(|same| path.strip_prefix(same).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        {
            return None;
        }
        let (principals, networks, network) = (self.principals.as_ref(), self.networks.as_ref(), || network(address));
        Some(match found {
            Some(found) => principals?.take(found.principal.as_ref()?.user.as_str()),
            None if path.starts_with("/v1/gateways/") => principals?.take(&format!("gateways at {}", network())),
            None if shows => networks?.take(&format!("refused at {}", network())),
            None => networks?.take(&network()),
        })
    }
}

type Limiter = RateLimiter<String, HashMapStateStore<String>, DefaultClock, StateInformationMiddleware>;

#[derive(Debug)]
struct Buckets {
    /// As the headers name the policy.
    policy: &'static str,
    quota: NonZeroU32,
    most: usize,
    limiter: RwLock<Limiter>,
}

/// How somebody stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    policy: &'static str,
    quota: NonZeroU32,
    left: u32,
    /// How long until there is room for another request, if there was none for this one.
    wait: Option<Duration>,
}

impl Buckets {
    fn new(policy: &'static str, quota: NonZeroU32, most: usize) -> Self {
        Self { policy, quota, most, limiter: RwLock::new(limiter(quota)) }
    }

    fn take(&self, key: &str) -> Standing {
        self.make_room();
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        let (left, wait) = match limiter.check_key(&key.to_owned()) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(until) => (0, Some(until.wait_time_from(DefaultClock::default().now()))),
        };
        Standing { policy: self.policy, quota: self.quota, left, wait }
    }

    /// A full bucket is the same as none. If more than half of the buckets are left without those, all begin anew: a caller
    /// with so many networks is not held up by a bucket for each, and nobody else is to be refused because of that.
    fn make_room(&self) {
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        if limiter.len() < self.most {
            return;
        }
        limiter.retain_recent();
        if limiter.len() > self.most / 2 {
            drop(limiter);
            *self.limiter.write().unwrap_or_else(PoisonError::into_inner) = self::limiter(self.quota);
        }
    }
}

fn limiter(quota: NonZeroU32) -> Limiter {
    let each = Duration::from_secs(WINDOW.into()) / quota.get();
    let quota = Quota::with_period(each).expect("a setting is far below one request a nanosecond").allow_burst(quota);
    RateLimiter::hashmap(quota).with_middleware()
}

impl Standing {
    pub fn refusal(&self) -> Option<ApiError> {
        let seconds = whole_seconds(self.wait?).max(1);
        let detail = format!("{} requests a minute are answered here; wait {seconds} s", self.quota);
        Some(ApiError::new("too-many-requests", detail).retry_after(seconds))
    }

    /// Puts it into an answer.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Self { policy, quota, left, .. } = self;
        let missing = quota.get().saturating_sub(*left);
        let full_in = (u64::from(missing) * u64::from(WINDOW)).div_ceil(u64::from(quota.get()));
        let value = |text: String| HeaderValue::from_str(&text).expect("a policy and numbers are plain ASCII");
        headers.insert(RATE_LIMIT_POLICY, value(format!("\"{policy}\";q={quota};w={WINDOW}")));
        headers.insert(RATE_LIMIT, value(format!("\"{policy}\";r={left};t={full_in}")));
    }
}

/// Upwards, since nobody is to come too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(quota: u32, most: usize) -> Buckets {
        Buckets::new("default", NonZeroU32::new(quota).expect("a quota"), most)
    }

    #[test]
    fn a_bucket_is_emptied_and_says_when_there_is_room_again() {
        let buckets = buckets(3, 10);
        let lefts = [(); 3].map(|()| buckets.take("ada").left);
        assert_eq!(lefts, [2, 1, 0]);
        let standing = buckets.take("ada");
        let refusal = standing.refusal().expect("it is empty");
        assert_eq!((refusal.code(), refusal.status().as_u16()), ("too-many-requests", 429));
        // One comes back every twenty seconds, and the bucket is full after sixty.
        assert!(standing.wait.is_some_and(|wait| (19..=20).contains(&whole_seconds(wait))), "{standing:?}");
        let mut headers = HeaderMap::new();
        standing.write(&mut headers);
        assert_eq!(headers[RATE_LIMIT_POLICY], "\"default\";q=3;w=60");
        assert_eq!(headers[RATE_LIMIT], "\"default\";r=0;t=60");
        assert_eq!(buckets.take("bob").refusal().map(|refusal| refusal.code()), None);
    }

    #[test]
    fn a_network_has_one_bucket() {
        let rates = Rates::new(RateOptions { of_principal: 0, of_address: 2 });
        let left = |address: &str, shows| {
            let standing = rates.count("/v1/sign-in", None, shows, address.parse().expect("an address"));
            standing.expect("it is counted").left
        };
        assert_eq!(left("2001:db8:1:2::1", false), 1);
        assert_eq!(left("2001:db8:1:2:ffff::9", false), 0);
        assert_eq!(left("2001:db8:1:2::1", true), 1, "what shows a refused token has a bucket of its own");
        assert_eq!(left("2001:db8:1:3::1", false), 1);
        assert_eq!(left("203.0.113.7", false), 1);
    }

    #[test]
    fn what_is_the_same_for_everybody_is_not_counted() {
        let rates = Rates::new(RateOptions { of_principal: 1, of_address: 1 });
        let here = "203.0.113.7".parse().expect("an address");
        for path in ["/assets/x.css", "/livez", "/readyz", "/metrics", "/docs/", "/problems", "/log/checkpoint"] {
            assert_eq!(rates.count(path, None, false, here), None, "{path}");
        }
        let program = Authenticated::program("system:api".parse().expect("an actor"));
        assert_eq!(rates.count("/v1/orders", Some(&program), true, here), None);
        assert_eq!(Rates::new(RateOptions::default()).count("/v1/orders", None, false, here), None);
    }

    #[test]
    fn so_many_buckets_are_kept_and_no_more() {
        let buckets = buckets(10, 100);
        buckets.take("ada");
        for number in 0..10_000 {
            buckets.take(&number.to_string());
            assert!(buckets.limiter.read().expect("nobody fell").len() <= 100);
        }
    }
}

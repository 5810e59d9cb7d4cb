//! People in a test: users with memberships, their tokens and their sessions, against an application that asks who asks.

use std::process::Stdio;

use chrono::{DateTime, Utc};
use daybook_core::{
    domain::{
        CustomerId, Id, Party, UserId,
        function::Function,
        user::{CredentialChange, MembershipChange, Password, Token, TokenGrant, TokenId},
    },
    operations::{ChangeCredentials, ChangeMembership, Invitation, InviteUser, Operation},
};
use daybook_identity::{PasswordOf, Secret, TokenOf};
use reqwest::{
    Client, Method, RequestBuilder,
    header::{AUTHORIZATION, HeaderValue},
};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    api::{Answer, TestApp},
    commands, master_key_env, program,
};

/// A password that is good enough.
pub const PASSWORD: &str = "ferrous lantern 41 drizzle";

/// Somebody who asks by a token.
#[derive(Clone, Debug)]
pub struct Person {
    pub user: UserId,
    pub token: String,
    pub token_id: TokenId,
}

/// Somebody who asks by the cookie of a session.
#[derive(Clone, Debug)]
pub struct Browser {
    pub cookie: String,
}

impl TestApp {
    pub async fn customer(&self, name: &str) -> CustomerId {
        commands::id(&self.record(commands::register(name).operation).await)
    }

    /// A user without a password, as the ledger's own program makes one.
    pub async fn invited(&self, login: &str, party: &Party, rights: Vec<MembershipChange>) -> UserId {
        let invitation = Invitation {
            login: login.into(),
            login_name: self.app().logins().name(login),
            name: format!("{login} by name").into(),
        };
        let answer = self.record(Operation::InviteUser(InviteUser { invitation, party: party.clone(), rights })).await;
        commands::id(&answer)
    }

    /// The user with a token that may do all that the user may.
    pub async fn person(&self, login: &str, party: &Party, rights: Vec<MembershipChange>) -> Person {
        let user = self.invited(login, party, rights).await;
        self.tokened(&user, party, None, None).await
    }

    pub async fn tokened(
        &self,
        user: &UserId,
        party: &Party,
        functions: Option<&[Function]>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Person {
        let token_id = Id::<Token>::from_uuid(Uuid::now_v7());
        let of = TokenOf { user: user.as_str(), token: token_id.as_str() };
        let token = self.app().identity().tokens.make(of, self.app().clock().now()).await.expect("a token is stored");
        let grant = TokenGrant {
            token: token_id.clone(),
            party: party.clone(),
            name: "of a test".into(),
            functions: functions.map(|functions| functions.iter().copied().collect()),
            expires_at,
        };
        self.credentials(user, CredentialChange::MakeToken(grant)).await;
        Person { user: user.clone(), token: token.expose().to_owned(), token_id }
    }

    /// Makes the user a member of another party, too.
    pub async fn with_membership(&self, user: &UserId, party: &Party) {
        self.grant(user, party, MembershipChange::Give).await;
    }

    pub async fn grant(&self, user: &UserId, party: &Party, change: MembershipChange) {
        let (user, party) = (user.clone(), party.clone());
        self.record(Operation::ChangeMembership(ChangeMembership { user, party, change })).await;
    }

    pub async fn credentials(&self, user: &UserId, change: CredentialChange) {
        self.record(Operation::ChangeCredentials(ChangeCredentials { user: user.clone(), change })).await;
    }

    /// Gives the user the password of the tests.
    pub async fn with_password(&self, user: &UserId) {
        let password = Id::<Password>::from_uuid(Uuid::now_v7());
        let of = PasswordOf { user: user.as_str(), password: password.as_str() };
        let (identity, now) = (self.app().identity(), self.app().clock().now());
        identity.passwords.keep(of, &Secret::new(PASSWORD), &[], now).await.expect("the password is good enough");
        self.credentials(user, CredentialChange::SetPassword { password }).await;
    }

    /// Records as a program of the ledger's own, and waits until every request knows of it.
    pub async fn record(&self, operation: Operation) -> Value {
        let done = self.writer().execute(commands::command(operation)).await.expect("the ledger accepts it");
        self.app().rights_are_known(done.position).await.expect("the rows follow");
        done.answer
    }

    /// A request of somebody with a token.
    pub fn by(&self, person: &Person, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(&person.token)
    }

    /// Reads by a token.
    pub async fn read_by(&self, person: &Person, path: &str) -> Answer {
        Answer::to(self.by(person, Method::GET, path)).await
    }

    /// Posts by a token, under a key of its own.
    pub async fn post_by(&self, person: &Person, path: &str, body: Value) -> Answer {
        let request = self.by(person, Method::POST, path).header("idempotency-key", Uuid::now_v7().to_string());
        Answer::to(request.json(&body)).await
    }

    /// Signs in, which must be accepted.
    pub async fn signed_in(&self, login: &str) -> Browser {
        let answer = self.sign_in(login, PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Browser::of(&answer)
    }

    /// The same browser, once it has shown the password again.
    pub async fn stepped_up(&self, browser: &Browser) -> Browser {
        let answer = self.page_posts(browser, "/v1/session/step-up", json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Browser::of(&answer)
    }

    pub async fn sign_in(&self, login: &str, password: &str) -> Answer {
        let body = json!({ "login": login, "password": password });
        Answer::to(self.request(Method::POST, "/v1/sign-in").json(&body)).await
    }

    /// A request of one of our pages in a browser.
    pub fn from_page(&self, browser: &Browser, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).header("cookie", &browser.cookie).header("sec-fetch-site", "same-origin")
    }

    pub async fn page_reads(&self, browser: &Browser, path: &str) -> Answer {
        Answer::to(self.from_page(browser, Method::GET, path)).await
    }

    pub async fn page_posts(&self, browser: &Browser, path: &str, body: Value) -> Answer {
        Answer::to(self.from_page(browser, Method::POST, path).json(&body)).await
    }

    /// Edits something by a session, whatever stands there.
    pub async fn page_edits(&self, browser: &Browser, path: &str, body: Value) -> Answer {
        Answer::to(self.from_page(browser, Method::POST, path).header("if-match", "*").json(&body)).await
    }
}

impl Browser {
    /// With the cookie that an answer sets.
    pub fn of(answer: &Answer) -> Self {
        let set = answer.header("set-cookie");
        let cookie = set.split(';').next().expect("a cookie has a first part").to_owned();
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax") && set.contains("Path=/"), "{set}");
        Self { cookie }
    }
}

/// A token of the provider's staff, as an operator makes one beside a server: the arguments name the ledger.
pub async fn staff_token(ledger: &[&str]) -> String {
    let made = Command::new(program("daybook"))
        .args(ledger)
        .args(["token", "create", "--role", "staff", "--role", "operator"])
        .envs(master_key_env())
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the tool runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).expect("a token is text").trim().to_owned()
}

/// A client that shows this token with every request.
pub fn client(token: &str) -> Client {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token is plain ASCII");
    value.set_sensitive(true);
    let headers = [(AUTHORIZATION, value)].into_iter().collect();
    Client::builder().default_headers(headers).build().expect("a client can be made")
}

/// RFC 6238 with SHA-1, six digits and 30 seconds, computed here for itself.
pub fn totp(secret: &str, now: i64) -> String {
    use hmac::{Hmac, KeyInit, Mac};

    let key = totp_key(secret);
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&key).expect("a key of any length will do");
    mac.update(&(now / 30).to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 15);
    let number = u32::from_be_bytes(digest[at..at + 4].try_into().expect("four bytes")) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// The bytes that an authenticator gets in base32.
pub fn totp_key(secret: &str) -> Vec<u8> {
    let mut bits = 0_u64;
    let (mut kept, mut key) = (0, Vec::new());
    for sign in secret.bytes() {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == sign);
        let value = value.expect("a digit of base32");
        bits = bits << 5 | value as u64;
        kept += 5;
        if kept >= 8 {
            kept -= 8;
            key.push((bits >> kept) as u8);
        }
    }
    key
}

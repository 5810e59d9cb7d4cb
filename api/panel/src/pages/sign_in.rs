//! The door: signing in and out, the second factor, signing up, and choosing a password by a link.

use askama::Template;
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::json;

use crate::{
    cell::Cell,
    form::{PlainForm, carry_cookies},
    page::{self, Content},
    pages::settings::forget,
    visit::{Refused, STANDS_IN, Visit},
};

#[derive(Template)]
#[template(path = "door.html")]
struct Door<'a> {
    visit: &'a Visit,
    action: String,
    explained: Option<String>,
    refusal: Option<String>,
    inputs: Vec<Input>,
    hidden: Vec<(&'static str, String)>,
    text: Option<String>,
    button: String,
    links: Vec<(String, &'static str)>,
}

struct Input {
    name: &'static str,
    label: String,
    kind: &'static str,
    complete: &'static str,
    value: String,
    error: Option<String>,
    is_required: bool,
}

impl<'a> Door<'a> {
    fn of(visit: &'a Visit, action: impl Into<String>, button: &str) -> Self {
        Self {
            visit,
            action: action.into(),
            explained: None,
            refusal: None,
            inputs: Vec::new(),
            hidden: Vec::new(),
            text: None,
            button: visit.language.say(button),
            links: Vec::new(),
        }
    }

    fn input(mut self, name: &'static str, kind: &'static str, complete: &'static str) -> Self {
        let label = self.visit.language.label(name);
        self.inputs.push(Input { name, label, kind, complete, value: String::new(), error: None, is_required: true });
        self
    }

    fn refused(mut self, refused: Option<&Refused>) -> Self {
        let Some(refused) = refused else { return self };
        for input in &mut self.inputs {
            let pointer = format!("/{}", input.name);
            input.error = refused.fields.iter().find(|(at, _)| *at == pointer).map(|(_, detail)| detail.clone());
        }
        self.refusal = Some(page::explained(self.visit, refused));
        self
    }

    fn shown(self, title: &str, refused: Option<&Refused>) -> Response {
        let title = self.visit.language.say(title);
        let status = refused.map_or(StatusCode::OK, |refused| refused.status);
        let mut response = Content::of(title, &self).with_status(self.visit, status);
        if let Some(after) = refused.and_then(|refused| refused.retry_after.as_deref()?.parse().ok()) {
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        response
    }
}

/// Where one goes after signing in: a page of ours.
fn back(asked: &str) -> &str {
    // Browsers leave out what is no visible sign, and read `/\t/` as `//`.
    let is_plain = asked.bytes().all(|byte| byte.is_ascii_graphic()) && !asked.contains('\\');
    if is_plain && asked.starts_with('/') && !asked.starts_with("//") { asked } else { "/" }
}

pub async fn show(visit: Visit) -> Response {
    if let Some(link) = visit.asked("link") {
        let mut door = Door::of(&visit, "/sign-in/link", "sign-in");
        door.explained = Some(visit.language.say("link-explained"));
        door.hidden.push(("link", link.to_owned()));
        return door.shown("sign-in", None);
    }
    if visit.is_signed_in() {
        return Redirect::to("/").into_response();
    }
    door_of(&visit, "", visit.asked("back").unwrap_or_default(), None).await
}

async fn door_of(visit: &Visit, login: &str, back: &str, refused: Option<&Refused>) -> Response {
    let door = Door::of(visit, "/sign-in", "sign-in");
    let mut door =
        door.input("login", "text", "username").input("password", "password", "current-password").refused(refused);
    door.inputs[0].value = login.to_owned();
    if !back.is_empty() {
        door.hidden.push(("back", back.to_owned()));
    }
    if visit.read("/v1/sign-up").await.is_ok() {
        door.links.push((visit.language.say("to-sign-up"), "/sign-up"));
    }
    door.shown("sign-in", refused)
}

pub async fn sign_in(visit: Visit, form: PlainForm) -> Response {
    let body = json!({"login": form.get("login"), "password": form.get("password")});
    match visit.send("POST", "/v1/sign-in", &[], Some(body)).await {
        Ok(answer) => {
            let next = if answer.body["needs"].is_null() { back(form.get("back")) } else { "/sign-in/second-factor" };
            let mut response = Redirect::to(next).into_response();
            carry_cookies(&answer, &mut response);
            // Nobody looks on as the one before did.
            forget(&visit, &mut response, STANDS_IN);
            response
        }
        Err(refused) => door_of(&visit, form.get("login"), form.get("back"), Some(&refused)).await,
    }
}

pub async fn ask_factor(visit: Visit) -> Response {
    if visit.who().is_none() {
        return Redirect::to("/sign-in").into_response();
    }
    factor_of(&visit, None)
}

fn factor_of(visit: &Visit, refused: Option<&Refused>) -> Response {
    let door = Door::of(visit, "/sign-in/second-factor", "sign-in");
    let mut door = door.input("code", "text", "one-time-code").input("recovery_code", "text", "off").refused(refused);
    door.explained = Some(visit.language.say("factor-explained"));
    door.inputs.iter_mut().for_each(|input| input.is_required = false);
    door.shown("second-factor", refused)
}

pub async fn second_factor(visit: Visit, form: PlainForm) -> Response {
    let body = if form.get("code").is_empty() {
        json!({"recovery_code": form.get("recovery_code")})
    } else {
        json!({"code": form.get("code")})
    };
    match visit.send("POST", "/v1/sign-in/second-factor", &[], Some(body)).await {
        Ok(answer) => {
            let mut response = Redirect::to("/").into_response();
            carry_cookies(&answer, &mut response);
            response
        }
        Err(refused) => factor_of(&visit, Some(&refused)),
    }
}

pub async fn sign_out(visit: Visit) -> Response {
    match visit.send("POST", "/v1/sign-out", &[], None).await {
        Ok(answer) => {
            let mut response = Redirect::to("/sign-in").into_response();
            carry_cookies(&answer, &mut response);
            forget(&visit, &mut response, STANDS_IN);
            response
        }
        // The session has ended already.
        Err(refused) if refused.status == StatusCode::UNAUTHORIZED => Redirect::to("/sign-in").into_response(),
        Err(refused) => page::failure(&visit, &refused),
    }
}

pub async fn sign_up(visit: Visit) -> Response {
    sign_up_of(&visit, None).await
}

async fn sign_up_of(visit: &Visit, refused: Option<(&Refused, &PlainForm)>) -> Response {
    let terms = match visit.read("/v1/sign-up").await {
        Ok(terms) => terms,
        Err(refused) => return page::failure(visit, &refused),
    };
    let door = Door::of(visit, "/sign-up", "do-sign-up-make");
    let door = door.input("name", "text", "name").input("mail", "email", "email").input(
        "password",
        "password",
        "new-password",
    );
    let mut door = door.refused(refused.map(|(refused, _)| refused));
    if let Some((_, form)) = refused {
        door.inputs[0].value = form.get("name").to_owned();
        door.inputs[1].value = form.get("mail").to_owned();
    }
    let text = |name: &str| terms.body[name].as_str().unwrap_or_default().to_owned();
    door.hidden.push(("terms_sha256", text("sha256")));
    door.text = Some(text("text"));
    door.explained = Some(visit.language.say("terms-explained"));
    door.shown("sign-up", refused.map(|(refused, _)| refused))
}

pub async fn send_sign_up(visit: Visit, form: PlainForm) -> Response {
    let body = json!({
        "name": form.get("name"), "mail": form.get("mail"), "password": form.get("password"),
        "terms_sha256": form.get("terms_sha256"),
    });
    match visit.send("POST", "/v1/sign-up", &[], Some(body)).await {
        Ok(answer) => {
            let until = Cell::of(&visit, &crate::declared::Shape::Moment, &answer.body["expires_at"]).plain();
            said(&visit, "sign-up", visit.language.say_with("sign-up-waits", &[("until", &until)]))
        }
        Err(refused) => sign_up_of(&visit, Some((&refused, &form))).await,
    }
}

#[derive(Template)]
#[template(
    source = r#"<p class="notice" role="status">{{ text }}</p><p class="actions"><a class="button" href="/sign-in">{{ sign_in }}</a></p>"#,
    ext = "html"
)]
struct Said {
    text: String,
    sign_in: String,
}

fn said(visit: &Visit, title: &str, text: String) -> Response {
    Content::of(visit.language.say(title), &Said { text, sign_in: visit.language.say("sign-in") }).shown(visit)
}

pub async fn confirm(visit: Visit) -> Response {
    linked(
        &visit,
        "/sign-up/confirm",
        "confirm-sign-up",
        "current-password",
        visit.asked("link").unwrap_or_default(),
        None,
    )
}

pub async fn send_confirmation(visit: Visit, form: PlainForm) -> Response {
    let body = json!({"link": form.get("link"), "password": form.get("password")});
    match visit.send("POST", "/v1/sign-up/confirm", &[], Some(body)).await {
        Ok(_) => said(&visit, "confirm-sign-up", visit.language.say("signed-up")),
        Err(refused) => {
            linked(&visit, "/sign-up/confirm", "confirm-sign-up", "current-password", form.get("link"), Some(&refused))
        }
    }
}

pub async fn password(visit: Visit) -> Response {
    linked(&visit, "/password", "choose-password", "new-password", visit.asked("link").unwrap_or_default(), None)
}

pub async fn send_password(visit: Visit, form: PlainForm) -> Response {
    let body = json!({"link": form.get("link"), "password": form.get("password")});
    match visit.send("POST", "/v1/password", &[], Some(body)).await {
        Ok(_) => said(&visit, "choose-password", visit.language.say("password-chosen")),
        Err(refused) => {
            linked(&visit, "/password", "choose-password", "new-password", form.get("link"), Some(&refused))
        }
    }
}

fn linked(
    visit: &Visit,
    action: &str,
    title: &str,
    complete: &'static str,
    link: &str,
    refused: Option<&Refused>,
) -> Response {
    let mut door = Door::of(visit, action, title).input("password", "password", complete).refused(refused);
    door.hidden.push(("link", link.to_owned()));
    door.explained = Some(visit.language.say(&format!("{title}-explained")));
    door.shown(title, refused)
}

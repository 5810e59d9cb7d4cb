//! Forms: each follows from the body that the API takes. What is wrong with a field stands beside it, and a form that is sent
//! twice does once what it says: its idempotency key was made when it was shown.

mod field;
mod typed;

use std::collections::HashMap;

use askama::Template;
use axum::{
    Form,
    extract::{Path, RawForm},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Value, json};
use uuid::Uuid;

use self::{
    field::{FURTHER, Making},
    typed::{Typed, body, joined},
};
pub use self::{
    field::{Field, filters, side},
    typed::{asked, moment},
};
use crate::{
    cell::Cell,
    declared::{Member, Operation, Shape, listing_of},
    figures,
    page::{self, Content},
    visit::{AT, Answer, Outcome, Refused, Visit, escaped},
};

#[derive(Template)]
#[template(path = "form.html")]
struct FormPage<'a> {
    visit: &'a Visit,
    action: String,
    button: String,
    refusal: Option<String>,
    fields: Vec<Field>,
    further: Vec<Field>,
    key: String,
    tag: String,
    /// What the form was filled with.
    was: Vec<(String, String)>,
    /// Whether a code, or else the password, is to be shown once more.
    step_up: Option<&'static str>,
    is_grave: bool,
}

impl FormPage<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

/// Shows a form.
pub async fn show(visit: Visit, Path(operation): Path<String>) -> Response {
    if !visit.is_signed_in() {
        return visit.to_sign_in();
    }
    visit.finish(shown(&visit, &operation, None).await)
}

/// What was refused, and what had been typed.
struct Former {
    typed: Typed,
    refused: Option<Refused>,
    step_up: Option<&'static str>,
}

fn permitted<'a>(visit: &'a Visit, operation: &str) -> Result<&'a Operation, Refused> {
    let found = visit.house.api().named(operation).filter(|operation| operation.method != "GET");
    let found = found.ok_or_else(Refused::not_found)?;
    if visit.may(found) {
        return Ok(found);
    }
    let detail = visit.language.say("not-allowed");
    Err(Refused { status: StatusCode::FORBIDDEN, code: "forbidden-by-role".into(), detail, ..Refused::not_found() })
}

async fn shown(visit: &Visit, operation: &str, former: Option<Former>) -> Outcome {
    let operation = permitted(visit, operation)?;
    let (_, above) = addressed(visit, operation)?;
    let (typed, refused, step_up) = match former {
        Some(Former { typed, refused, step_up }) => (typed, refused, step_up),
        // What begins so is of the form itself, and comes from no link.
        None => {
            let asked = visit.query.iter().filter(|(name, _)| !name.starts_with('_'));
            (Typed(asked.cloned().collect()), None, None)
        }
    };
    let is_first = refused.is_none() && step_up.is_none() && typed.get("_key").is_none();
    let mut typed = typed;
    let mut tag = typed.get("_tag").unwrap_or_default().to_owned();
    if let Some(above) = above.as_deref().filter(|_| is_first && operation.names().next().is_some())
        && let Ok(now) = visit.read(above).await
    {
        now.tag().filter(|_| operation.expects).unwrap_or_default().clone_into(&mut tag);
        if let Some(Shape::Object(members)) = &operation.body {
            fill(visit, &mut typed, members, &now);
        }
    }
    let was: Vec<(String, String)> = if operation.method == "PATCH" {
        let kept = typed.0.iter().filter_map(|(name, value)| Some((name.strip_prefix(WAS)?.to_owned(), value.clone())));
        let filled =
            typed.0.iter().filter(|(name, _)| !name.starts_with('_') && !operation.names().any(|of| of == name));
        if is_first { filled.cloned().collect() } else { kept.collect() }
    } else {
        Vec::new()
    };
    let key = typed.get("_key").map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    let none = Vec::new();
    let errors = refused.as_ref().map_or(&none, |refused| &refused.fields);
    let shape = operation.body.clone().unwrap_or(Shape::Object(Vec::new()));
    let making = Making::of(visit, &shape, &typed, errors).await;
    let members = if let Shape::Object(members) = &shape { members.clone() } else { Vec::new() };
    let mut fields = making.fields(&members, "");
    let further = fields.extract_if(.., |field| FURTHER.contains(&field.name.as_str()) && !field.is_required).collect();
    let beside: Vec<&str> = errors.iter().map(|(at, _)| at.as_str()).collect();
    let refusal = refused.as_ref().filter(|refused| refused.code != "step-up-needed").map(|refused| {
        let text = page::explained(visit, refused);
        let first = refused.fields.first().map(|(_, detail)| detail.as_str());
        // What stands beside a field is not said twice, unless the field is not here.
        if beside.is_empty() || first != Some(&text) { text } else { visit.language.say("look-at-fields") }
    });
    let deed = visit.language.deed(&operation.id);
    let page = FormPage {
        visit,
        action: visit.address_with(&[("done", None), (AT, None)]),
        button: deed.clone(),
        refusal,
        fields,
        further,
        key,
        tag,
        was,
        step_up,
        is_grave: operation.is_grave(),
    };
    let mut crumbs = Vec::new();
    if let Some(above) = above.as_deref().and_then(|above| above.strip_prefix("/v1")) {
        crumbs.push((crumb(visit, above), above.to_owned()));
    }
    // To be asked once more who one is belongs to the ordinary way.
    let refused = refused.filter(|refused| refused.code != "step-up-needed");
    let status = refused.map_or(StatusCode::OK, |refused| refused.status);
    Ok(Content::of(deed, &page).under(crumbs).with_status(visit, status))
}

fn crumb(visit: &Visit, path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    if listing_of(last).is_some() {
        return visit.language.say("back-to-thing");
    }
    visit.house.api().reading(&format!("/v1{path}")).map_or_else(
        || visit.language.say("page-home"),
        |(operation, _)| crate::map::title(visit, &operation.path["/v1".len()..]),
    )
}

/// Fields whose value the thing has by another name.
const CALLED: [(&str, &str); 3] = [("on", "automatic_allocation"), ("allowed", "post_paid"), ("limit", "credit_limit")];

/// Puts into a form what the thing has now, where the form has a field for it.
fn fill(visit: &Visit, typed: &mut Typed, members: &[Member], now: &Answer) {
    for member in members {
        let other = CALLED.iter().find(|(field, of)| *field == member.name && !now.body[*of].is_null());
        let value = &now.body[other.map_or(member.name.as_str(), |(_, of)| of)];
        if typed.get(&member.name).is_some() {
            continue;
        }
        match value {
            Value::String(text) if !FURTHER.contains(&member.name.as_str()) => {
                let is_number = matches!(member.shape, Shape::Number);
                let text = if is_number { figures::typed(visit.language, text) } else { text.clone() };
                typed.0.push((member.name.clone(), text));
            }
            Value::Object(money) if matches!(member.shape, Shape::Money) => {
                let part = |part: &str| money.get(part).and_then(Value::as_str).unwrap_or_default();
                let amount = figures::typed(visit.language, part("amount"));
                typed.0.push((joined(&member.name, "amount"), amount));
                typed.0.push((joined(&member.name, "currency"), part("currency").to_owned()));
            }
            Value::Bool(truth) => typed.0.push((member.name.clone(), truth.to_string())),
            Value::Object(held) => {
                let texts = held.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
                typed.0.extend(texts.map(|(name, value)| (joined(&member.name, name), value.to_owned())));
            }
            _ => {}
        }
    }
}

/// The address of the API that a form is sent to, and the one of what is above it.
fn addressed(visit: &Visit, operation: &Operation) -> Result<(String, Option<String>), Refused> {
    let mut path = operation.path.clone();
    for name in operation.names() {
        let value = visit.asked(name).ok_or_else(Refused::not_found)?;
        let value = escaped(value).replace("%3A", ":");
        path = path.replace(&format!("{{{name}}}"), &value);
    }
    let mut above = path.clone();
    let found = loop {
        if visit.house.api().reading(&above).is_some_and(|(reads, _)| visit.may(reads)) {
            break Some(above);
        }
        match above.rfind('/') {
            Some(at) if at > "/v1".len() => above.truncate(at),
            _ => break None,
        }
    };
    Ok((path, found))
}

/// Sends a form.
pub async fn send(visit: Visit, Path(operation): Path<String>, RawForm(form): RawForm) -> Response {
    if !visit.is_signed_in() {
        return visit.to_sign_in();
    }
    let typed = Typed::of(&form);
    visit.finish(sent(&visit, &operation, typed).await)
}

async fn sent(visit: &Visit, name: &str, typed: Typed) -> Outcome {
    let operation = permitted(visit, name)?;
    if typed.get("_add").is_some() {
        return shown(visit, name, Some(Former { typed, refused: None, step_up: None })).await;
    }
    let (path, above) = addressed(visit, operation)?;
    let content = operation.body.as_ref().map(|shape| body(visit, shape, "", &typed).unwrap_or_else(|| json!({})));
    let content = match (&operation.body, content) {
        (Some(Shape::Object(members)), Some(content)) if operation.method == "PATCH" => {
            Some(changed(visit, members, content, &typed))
        }
        (_, content) => content,
    };
    let mut headers: Vec<(HeaderName, &str)> = Vec::new();
    if let Some(key) = typed.get("_key").filter(|_| operation.has_key) {
        headers.push((HeaderName::from_static("idempotency-key"), key));
    }
    if let Some(tag) = typed.get("_tag").filter(|_| operation.expects) {
        headers.push((header::IF_MATCH, tag));
    }
    match visit.send(&operation.method, &path, &headers, content).await {
        Ok(answer) => Ok(done(visit, operation, above.as_deref(), &answer)),
        Err(refused) if refused.code == "step-up-needed" => step_up(visit, name, typed, refused).await,
        Err(refused) if refused.status.is_client_error() || refused.status == StatusCode::SERVICE_UNAVAILABLE => {
            shown(visit, name, Some(Former { typed, refused: Some(refused), step_up: None })).await
        }
        Err(refused) => Err(refused),
    }
}

/// What of an edit differs from what the form was filled with: what stayed is not sent, and what was emptied is `null`.
fn changed(visit: &Visit, members: &[Member], mut content: Value, typed: &Typed) -> Value {
    let was = typed.0.iter().filter_map(|(name, value)| Some((name.strip_prefix(WAS)?.to_owned(), value.clone())));
    let was = Typed(was.collect());
    let was = body(visit, &Shape::Object(members.to_vec()), "", &was).unwrap_or_else(|| json!({}));
    if let Some(content) = content.as_object_mut() {
        for member in members.iter().filter(|member| !FURTHER.contains(&member.name.as_str())) {
            let (now, before) = (content.get(&member.name), was.get(&member.name));
            if now.is_some() && now == before {
                content.remove(&member.name);
            } else if now.is_none() && before.is_some() && !member.is_required {
                content.insert(member.name.clone(), Value::Null);
            }
        }
    }
    content
}

/// Before the name of what a form was filled with.
const WAS: &str = "_was.";

/// Asks for the password or the code once more, and sends the form again once it was right.
async fn step_up(visit: &Visit, name: &str, typed: Typed, refused: Refused) -> Outcome {
    let me = visit.read("/v1/me").await?;
    let by = if me.body["factors"].as_array().is_some_and(|factors| !factors.is_empty()) { "code" } else { "password" };
    let Some(secret) = typed.get("_secret") else {
        return shown(visit, name, Some(Former { typed, refused: Some(refused), step_up: Some(by) })).await;
    };
    match visit.send("POST", "/v1/session/step-up", &[], Some(json!({ by: secret }))).await {
        Ok(answer) => {
            // The browser sends the same form again, with the cookie that it has now.
            let mut response = Redirect::temporary(&visit.address()).into_response();
            carry_cookies(&answer, &mut response);
            Ok(response)
        }
        Err(wrong) => shown(visit, name, Some(Former { typed, refused: Some(wrong), step_up: Some(by) })).await,
    }
}

pub fn carry_cookies(answer: &Answer, response: &mut Response) {
    for cookie in answer.headers.get_all(header::SET_COOKIE) {
        response.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
}

/// Members of answers that are shown once.
const ONCE: [&str; 5] = ["secret", "codes", "token", "link", "uri"];

fn done(visit: &Visit, operation: &Operation, above: Option<&str>, answer: &Answer) -> Response {
    let is_shown_once = ONCE.iter().any(|member| !answer.body[*member].is_null());
    if is_shown_once {
        return shown_once(visit, operation, answer);
    }
    let made = answer.headers.get(header::LOCATION).and_then(|made| made.to_str().ok());
    let next = made.filter(|made| visit.may_read(made)).or(above).and_then(|path| path.strip_prefix("/v1"));
    let position = answer.position().map(|position| format!("&{AT}={position}")).unwrap_or_default();
    let next = format!("{}?done={}{position}", next.unwrap_or("/"), operation.id);
    let mut response = Redirect::to(&next).into_response();
    carry_cookies(answer, &mut response);
    response
}

#[derive(Template)]
#[template(path = "once.html")]
struct Once<'a> {
    visit: &'a Visit,
    members: Cell,
    next: Option<(String, String)>,
}

fn shown_once(visit: &Visit, operation: &Operation, answer: &Answer) -> Response {
    let mut shown = answer.body.clone();
    if let (Some(link), true) = (shown["link"].as_str(), operation.id.starts_with("user")) {
        // The page where the invited person chooses a password.
        shown["link"] = json!(format!("/password?link={}", escaped(link)));
    }
    if let (Some(link), true) = (shown["link"].as_str(), operation.id.starts_with("sign_up")) {
        shown["link"] = json!(format!("/sign-up/confirm?link={}", escaped(link)));
    }
    let next = (operation.path == "/v1/me/factors").then(|| {
        let confirm = visit.house.api().0.iter().find(|other| other.path == "/v1/me/factors/{id}/confirm");
        let confirm = confirm.map(|confirm| confirm.id.as_str()).unwrap_or_default();
        let address = format!("/do/{confirm}?id={}", escaped(shown["id"].as_str().unwrap_or_default()));
        (visit.language.deed(confirm), address)
    });
    if let Some(members) = shown.as_object_mut() {
        members.remove("id");
    }
    let page = Once { visit, members: Cell::guess(visit, &shown), next };
    let mut response = Content::of(visit.language.deed(&operation.id), &page).shown(visit);
    carry_cookies(answer, &mut response);
    response
}

/// A form of two or three fields that is sent without a session.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub struct Plain(HashMap<String, String>);

impl Plain {
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }
}

pub type PlainForm = Form<Plain>;

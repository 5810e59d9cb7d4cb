//! Pictures of figures: SVG that is made here, the same for the same figures, each with its figures as a table below.
//!
//! Coordinates are whole numbers of a fixed grid; the style sheet gives the colours.

use askama::Template;
use rust_decimal::{Decimal, prelude::ToPrimitive};

use crate::visit::Visit;

/// The grid that pictures are drawn on.
const WIDTH: i64 = 720;
const HEIGHT: i64 = 180;

/// So many events are marked on a line, and drawn one by one.
const MOST_MARKS: usize = 200;

/// A picture with its table.
#[derive(Template)]
#[template(path = "plot.html")]
pub struct Picture {
    title: String,
    description: String,
    height: i64,
    width: i64,
    shapes: Vec<Drawn>,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    data: String,
}

/// What is drawn.
enum Drawn {
    Line { class: &'static str, points: String },
    Bar { class: String, x: i64, y: i64, width: i64, height: i64, title: String, address: Option<String> },
    Mark { class: &'static str, x: i64, y: i64, title: String, address: String },
    Text { class: &'static str, x: i64, y: i64, text: String },
}

/// A point of a line: its name, its place from 0 to 1,000, and its value.
#[derive(Clone, Debug)]
pub struct Point {
    pub name: String,
    pub at: i64,
    pub value: Decimal,
    /// The value, as it is written.
    pub text: String,
    /// What happened there, if it is to be marked.
    pub mark: Option<(String, String)>,
}

/// A part of a bar.
#[derive(Clone, Debug)]
pub struct Piece {
    pub label: String,
    pub value: Decimal,
    pub text: String,
    pub class: &'static str,
    pub address: Option<String>,
}

/// A line that stays level between its points, and goes up or down at each.
pub fn steps(visit: &Visit, title: String, heads: [String; 2], points: &[Point], limit: Option<Decimal>) -> Picture {
    let values = points.iter().map(|point| point.value).chain([Decimal::ZERO]).chain(limit);
    let (mut least, mut most) = (Decimal::ZERO, Decimal::ZERO);
    for value in values {
        (least, most) = (least.min(value), most.max(value));
    }
    let span = if most == least { Decimal::ONE } else { most - least };
    let y = |value: Decimal| {
        let share = ((most - value) * Decimal::from(HEIGHT - 30) / span).round();
        10 + share.to_i64().unwrap_or_default()
    };
    let x = |at: i64| at * WIDTH / 1_000;
    let level =
        |class: &'static str, value: Decimal| Drawn::Line { class, points: format!("0,{0} {WIDTH},{0}", y(value)) };
    let mut shapes = vec![level("zero", Decimal::ZERO)];
    if let Some(limit) = limit {
        shapes.push(level("limit", limit));
    }
    let (mut line, mut before) = (String::new(), None);
    let last_at_its_place = points.iter().enumerate().filter(|(number, point)| {
        points.get(number + 1).is_none_or(|next| next.at != point.at || points.len() <= MOST_MARKS)
    });
    for (_, point) in last_at_its_place {
        if let Some(before) = before {
            line += &format!("{},{before} ", x(point.at));
        }
        line += &format!("{},{} ", x(point.at), y(point.value));
        before = Some(y(point.value));
    }
    if let Some(before) = before {
        line += &format!("{WIDTH},{before}");
        shapes.push(Drawn::Line { class: "line", points: line });
    }
    // More of them would hide one another.
    let marked = points.iter().filter(|point| point.mark.is_some()).count() <= MOST_MARKS;
    for point in points.iter().filter(|_| marked) {
        if let Some((title, address)) = &point.mark {
            let class = if point.value < Decimal::ZERO { "mark below" } else { "mark" };
            shapes.push(Drawn::Mark {
                class,
                x: x(point.at),
                y: y(point.value),
                title: title.clone(),
                address: address.clone(),
            });
        }
    }
    for extreme in [points.iter().max_by_key(|point| point.value), points.iter().min_by_key(|point| point.value)] {
        let Some(point) = extreme else { continue };
        let place = y(point.value);
        // Below the line where it runs along the upper edge.
        let place = if place < 24 { place + 16 } else { place - 6 };
        shapes.push(Drawn::Text { class: "label", x: 4, y: place, text: point.text.clone() });
    }
    let rows = points.iter().map(|point| vec![point.name.clone(), point.text.clone()]).collect();
    picture(visit, title, HEIGHT, shapes, heads.into(), rows)
}

/// One bar, whose parts are as wide as what they stand for.
pub fn parts(visit: &Visit, title: String, heads: [String; 2], pieces: &[Piece]) -> Picture {
    let whole: Decimal = pieces.iter().map(|piece| piece.value.abs()).sum();
    let mut shapes = vec![Drawn::Bar {
        class: "ground".into(),
        x: 0,
        y: 4,
        width: WIDTH,
        height: 26,
        title: title.clone(),
        address: None,
    }];
    let mut x = 0;
    for piece in pieces.iter().filter(|piece| !piece.value.is_zero()) {
        let width = wide(piece.value, whole);
        let name = format!("{}: {}", piece.label, piece.text);
        shapes.push(Drawn::Bar {
            class: piece.class.into(),
            x,
            y: 4,
            width,
            height: 26,
            title: name,
            address: piece.address.clone(),
        });
        x += width;
    }
    let rows = pieces.iter().map(|piece| vec![piece.label.clone(), piece.text.clone()]).collect();
    picture(visit, title, 34, shapes, heads.into(), rows)
}

/// Where something went: a bar of the whole, and under it a bar of each part, as wide as its amount.
pub fn flow(visit: &Visit, title: String, heads: [String; 2], whole: &Piece, pieces: &[Piece]) -> Picture {
    let total = whole.value.abs().max(pieces.iter().map(|piece| piece.value.abs()).sum());
    let bar = |piece: &Piece, x: i64, y: i64| Drawn::Bar {
        class: piece.class.into(),
        x,
        y,
        width: wide(piece.value, total).max(2),
        height: 22,
        title: format!("{}: {}", piece.label, piece.text),
        address: piece.address.clone(),
    };
    let mut shapes = vec![bar(whole, 0, 18), Drawn::Text { class: "label", x: 0, y: 13, text: named(whole) }];
    let (mut x, mut y) = (0, 62);
    for piece in pieces.iter().filter(|piece| !piece.value.is_zero()) {
        let width = wide(piece.value, total).max(2);
        let down = format!("{0},40 {0},{y} {1},{y} {1},40", x, x + width);
        shapes.push(Drawn::Line { class: "band", points: down });
        shapes.push(bar(piece, x, y));
        // A label at the right edge begins further left.
        let at = x.clamp(0, WIDTH - 260);
        shapes.push(Drawn::Text { class: "label", x: at, y: y + 36, text: named(piece) });
        x += width;
        y += 44;
    }
    let rows = [whole].into_iter().chain(pieces).map(|piece| vec![piece.label.clone(), piece.text.clone()]).collect();
    picture(visit, title, y, shapes, heads.into(), rows)
}

fn named(piece: &Piece) -> String {
    format!("{} · {}", piece.label, piece.text)
}

/// Bars beside one another, each with its value.
pub fn bars(visit: &Visit, title: String, heads: [String; 2], pieces: &[Piece]) -> Picture {
    let most = pieces.iter().map(|piece| piece.value.abs()).max().unwrap_or_default();
    let most = if most.is_zero() { Decimal::ONE } else { most };
    let mut shapes = vec![Drawn::Line { class: "zero", points: format!("0,{0} {WIDTH},{0}", HEIGHT - 20) }];
    let step = WIDTH / i64::try_from(pieces.len().max(1)).unwrap_or(1);
    for (number, piece) in (0_i64..).zip(pieces) {
        let height = (piece.value.abs() * Decimal::from(HEIGHT - 40) / most).round().to_i64().unwrap_or_default();
        shapes.push(Drawn::Bar {
            class: piece.class.into(),
            x: number * step + step / 8,
            y: HEIGHT - 20 - height,
            width: (step * 3 / 4).max(1),
            height,
            title: format!("{}: {}", piece.label, piece.text),
            address: piece.address.clone(),
        });
        if step > 40 {
            shapes.push(Drawn::Text {
                class: "label",
                x: number * step + step / 8,
                y: HEIGHT - 4,
                text: piece.label.clone(),
            });
        }
    }
    let rows = pieces.iter().map(|piece| vec![piece.label.clone(), piece.text.clone()]).collect();
    picture(visit, title, HEIGHT, shapes, heads.into(), rows)
}

fn wide(value: Decimal, whole: Decimal) -> i64 {
    if whole.is_zero() {
        return 0;
    }
    (value.abs() * Decimal::from(WIDTH) / whole).round().to_i64().unwrap_or_default()
}

fn picture(
    visit: &Visit,
    title: String,
    height: i64,
    shapes: Vec<Drawn>,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
) -> Picture {
    let description = visit.language.count("plot-values", rows.len() as u64);
    let data = visit.language.say("plot-data");
    Picture { title, description, height, width: WIDTH, shapes, heads, rows, data }
}

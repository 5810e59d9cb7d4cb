//! Metrics for Prometheus: how the projections stand at the moment of the scrape. Nothing is counted in between.

use std::{fmt, time::Duration};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use daybook_core::{
    Position,
    store::head_and_clock,
    transparency::{self, Kept, latest_checkpoint},
};
use daybook_projections::{
    BOARD,
    engine::{Building, Standing, State as Motion, resident_memory, standings},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, prometheus_text},
    metrics::MetricType,
    registry::Registry,
};

use crate::{app::App, http::error::ApiError};

/// How the projections stand, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn show(State(app): State<App>) -> Result<Response, ApiError> {
    let mut connection = app.store().pool().acquire().await?;
    let standings = standings(BOARD, &mut connection).await?;
    let head = standings.iter().map(|standing| standing.head).max().unwrap_or_default();
    let in_tree = transparency::standing(&mut *connection).await?.size;
    let signed = latest_checkpoint(&mut *connection).await?.map_or(0, |checkpoint| checkpoint.size);
    let mut registry = Registry::default();
    let (book, now) = head_and_clock(&mut *connection).await?;
    let distrusted = app.clock().judge(book, now).is_err() || app.clock().overruled(book, now).is_some();
    let (Kept { trouble, forked, .. }, memory) = (app.kept(), resident_memory());
    let troubled = trouble.is_some();
    let uncertified = app.certificate_trouble().is_some();
    registry.register_collector(Box::new(Scrape {
        head,
        in_tree,
        signed,
        troubled,
        forked,
        distrusted,
        uncertified,
        memory,
        standings,
    }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("a text takes everything that is written to it");
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// What is told at one scrape.
#[derive(Debug)]
struct Scrape {
    head: Position,
    /// Events in the tree of the transparency log, and in its latest checkpoint.
    in_tree: u64,
    signed: u64,
    /// Whether the transparency log cannot be kept.
    troubled: bool,
    /// Whether the book lacks what was signed.
    forked: bool,
    /// Whether the clock keeps the writer from recording, or would without an operator's word.
    distrusted: bool,
    /// Whether callers are shown another certificate than the one in its file.
    uncertified: bool,
    memory: u64,
    standings: Vec<Standing>,
}

/// A figure that a projection has, or has not at this moment.
struct Measure {
    name: &'static str,
    help: &'static str,
    of: fn(&Standing) -> Option<u64>,
}

const MEASURES: &[Measure] = &[
    measure("position", "The last event that is in the rows", |standing| Some(standing.position)),
    measure("head", "The last event of the book, as the projection is compared with it", |standing| {
        Some(standing.head)
    }),
    measure("lag_events", "How many events of the book are not in the rows yet", |standing| Some(standing.lag_events)),
    measure("stopped_position", "The event that cannot be folded, of a projection that has stopped", |standing| {
        standing.error_position
    }),
    measure("driven", "Whether a process drives the projection", |standing| Some(standing.driven.into())),
    measure("serving_version", "The version of the build that serves", |standing| count(standing.version)),
    measure("serving_build", "The number of the build that serves", |standing| count(standing.build)),
    measure("program_version", "The version of the projection in this program", |standing| {
        count(standing.program_version)
    }),
    measure("building_position", "The last event that is in the build being made", |standing| {
        building(standing, |building| Some(building.position))
    }),
    measure("building_events_per_second", "How fast the build is being made", |standing| {
        building(standing, |building| count(building.events_per_second))
    }),
    measure("building_left_seconds", "How long the build will take to the end of the book", |standing| {
        building(standing, |building| count(building.seconds_left?))
    }),
    measure("building_memory_bytes", "What the process takes of the memory that makes the build", |standing| {
        building(standing, |building| count(building.memory_bytes))
    }),
    measure("building_driven", "Whether a process makes the build; otherwise it was interrupted", |standing| {
        building(standing, |building| Some(building.driven.into()))
    }),
    measure("parked_streams", "How many streams are set aside", |standing| count(standing.parked.len())),
    measure("drifted_rows", "How many rows were found not to be what the book says", |standing| {
        count(standing.drifts.len())
    }),
];

const STATES: [(Motion, &str); 3] =
    [(Motion::Running, "running"), (Motion::Paused, "paused"), (Motion::Stopped, "stopped")];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut head = gauge(&mut encoder, "daybook_book_head", "The last event of the book")?;
        head.encode_gauge(&self.head)?;
        let help = "How many events are in the tree of the transparency log";
        gauge(&mut encoder, "daybook_log_size", help)?.encode_gauge(&self.in_tree)?;
        let help = "How many events are in the latest checkpoint of the transparency log";
        gauge(&mut encoder, "daybook_log_signed_size", help)?.encode_gauge(&self.signed)?;
        let help = "1 if the transparency log does not grow or is not signed; /readyz tells why";
        gauge(&mut encoder, "daybook_log_trouble", help)?.encode_gauge(&u64::from(self.troubled))?;
        let help = "1 if the book lacks what its transparency log has signed, so that nothing is recorded";
        gauge(&mut encoder, "daybook_log_forked", help)?.encode_gauge(&u64::from(self.forked))?;
        let help = "1 if the clock cannot be trusted, so that nothing is recorded unless an operator has said so; /readyz says why";
        gauge(&mut encoder, "daybook_clock_trouble", help)?.encode_gauge(&u64::from(self.distrusted))?;
        let help =
            "1 if the certificate in its file cannot be used, so that the one of before is shown on; /readyz says why";
        gauge(&mut encoder, "daybook_certificate_trouble", help)?.encode_gauge(&u64::from(self.uncertified))?;
        let help = "The memory of this process that is resident";
        gauge(&mut encoder, "process_resident_memory_bytes", help)?.encode_gauge(&self.memory)?;

        for Measure { name, help, of } in MEASURES {
            let name = format!("daybook_projection_{name}");
            let mut metric = gauge(&mut encoder, &name, help)?;
            for standing in &self.standings {
                if let Some(value) = of(standing) {
                    tell(&mut metric, [("projection", standing.name)], &value)?;
                }
            }
        }
        let help = "The age of the oldest event that is not in the rows yet";
        let mut metric = gauge(&mut encoder, "daybook_projection_lag_seconds", help)?;
        for standing in &self.standings {
            let lag = Duration::from_millis(count(standing.lag_milliseconds).unwrap_or_default()).as_secs_f64();
            tell(&mut metric, [("projection", standing.name)], &lag)?;
        }
        let mut metric = gauge(&mut encoder, "daybook_projection_state", "1 for the state that the projection is in")?;
        for standing in &self.standings {
            for (state, word) in STATES {
                let labels = [("projection", standing.name), ("state", word)];
                tell(&mut metric, labels, &u64::from(standing.state == state))?;
            }
        }
        let name = "daybook_projection_building_phase";
        let mut metric = gauge(&mut encoder, name, "1 for what is being done to the build that is being made")?;
        for standing in &self.standings {
            let phase = standing.building.as_ref().and_then(|building| building.phase.as_deref());
            if let Some(phase) = phase {
                tell(&mut metric, [("projection", standing.name), ("phase", phase)], &1_u64)?;
            }
        }
        Ok(())
    }
}

fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn tell(metric: &mut MetricEncoder<'_>, labels: impl EncodeLabelSet, value: &impl EncodeGaugeValue) -> fmt::Result {
    metric.encode_family(&labels)?.encode_gauge(value)
}

const fn measure(name: &'static str, help: &'static str, of: fn(&Standing) -> Option<u64>) -> Measure {
    Measure { name, help, of }
}

fn building(standing: &Standing, of: fn(&Building) -> Option<u64>) -> Option<u64> {
    standing.building.as_ref().and_then(of)
}

fn count(number: impl TryInto<u64>) -> Option<u64> {
    number.try_into().ok()
}

//! Heartbeats: while a build is being made, its row tells that somebody is at work, on what, and at what cost.

use std::time::Duration;

use daybook_core::{chain, store::Store};
use tokio::{sync::watch, task::JoinHandle, time};

use crate::engine::{
    builds::{build, rebuild::Phase, target::Target},
    follow::lease::Driver,
};

/// How often there is one; well within the lease.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// The signs end when this is dropped.
pub(in crate::engine) struct Heartbeat {
    told: watch::Sender<(Phase, u64)>,
    task: JoinHandle<()>,
}

impl Heartbeat {
    pub fn begin(store: &Store, target: &Target, driver: Driver) -> Self {
        let (told, news) = watch::channel((Phase::Filling, 0));
        let (pool, name, build) = (store.pool().clone(), target.definition.name, target.build);
        let task = tokio::spawn(async move {
            loop {
                let (phase, memory) = *news.borrow();
                let signed = build::heartbeat(name, build, driver, phase.as_str(), memory, &pool).await;
                if let Err(error) = signed {
                    tracing::warn!(projection = name, error = %chain(&error), "a rebuild cannot tell that it goes on");
                }
                time::sleep(SIGN_OF_LIFE).await;
            }
        });
        Self { told, task }
    }

    pub fn tell(&self, phase: Phase, memory: u64) {
        self.told.send_replace((phase, memory));
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

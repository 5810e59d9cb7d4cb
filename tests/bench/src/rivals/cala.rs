//! cala-ledger: double entry by transaction templates, as its own examples set it up.

use std::{sync::Arc, time::Duration};

use cala_ledger::{
    AccountId, CalaLedger, CalaLedgerConfig, JournalId, TransactionId,
    account::NewAccount,
    errlanes::Fail,
    job::{JobSvcConfig, Jobs},
    journal::NewJournal,
    tx_template::{
        NewParamDefinition, NewTxTemplate, NewTxTemplateEntry, NewTxTemplateTransaction, ParamDataType, Params,
    },
};
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::PgPool;
use tokio::{runtime, task};
use uuid::Uuid;

use crate::{
    Failure,
    cluster::{self, Server},
    load::{ACTOR, Attempt, Caller, DESCRIPTION, Deposit, Deposits, REASON, Span, closed_loop},
    measure::Run,
    memory,
};

/// The template of a deposit.
const CODE: &str = "DEPOSIT";

/// As its README connects.
const CONNECTIONS: u32 = 20;

/// A database with a journal, a template and accounts, to be copied for each run. Each account is paid from one of its
/// own, so that only a hot account makes a hot counterpart.
pub struct Template {
    database: String,
    journal: JournalId,
    /// Payer and account.
    accounts: Arc<[(AccountId, AccountId)]>,
}

impl Template {
    pub async fn prepare(server: &Server, accounts: usize) -> Result<Self, Failure> {
        let database = server.fresh(None).await?;
        let options = server.options(&database)?;
        let made = apart(move || async move {
            let pool = cluster::pool(options, CONNECTIONS).await?;
            let (cala, _jobs) = ledger(&pool, true).await?;
            let journal = JournalId::new();
            cala.journals().create(NewJournal::builder().id(journal).name("bench").build()).await?;
            cala.tx_templates().create(deposit_template()).await?;
            let mut pairs = Vec::new();
            for number in 0..accounts {
                let (payer, account) = (AccountId::new(), AccountId::new());
                let new = |id, kind: &str| {
                    let code = format!("{kind}-{number}");
                    NewAccount::builder().id(id).name(code.clone()).code(code).build()
                };
                cala.accounts().create_all(vec![new(payer, "payer"), new(account, "account")]).await?;
                pairs.push((payer, account));
            }
            Ok((journal, pairs.into()))
        });
        let (journal, accounts) = made.await?;
        server.seal(&database).await?;
        Ok(Self { database, journal, accounts })
    }
}

/// Deposits by so many callers into the first so many accounts.
pub async fn deposits(
    server: &Server,
    template: &Template,
    name: &str,
    (accounts, callers): (usize, usize),
    span: Span,
) -> Result<Vec<Run>, Failure> {
    let database = server.fresh(Some(&template.database)).await?;
    let (options, name) = (server.options(&database)?, name.to_owned());
    let (journal, pairs) = (template.journal, Arc::clone(&template.accounts));
    let run = apart(move || async move {
        let pool = cluster::pool(options, CONNECTIONS).await?;
        let (cala, _jobs) = ledger(&pool, false).await?;
        let depositor = |number| Depositor {
            cala: cala.clone(),
            journal,
            accounts: Arc::clone(&pairs),
            deposits: Deposits::of(number, accounts),
            asked: Deposit { account: 0, cents: 1 },
        };
        memory::forget_peak();
        Ok(closed_loop((0..callers).map(depositor).collect(), span).await?.run(&name))
    });
    let run = run.await?;
    server.drop(&database).await?;
    Ok(vec![run])
}

/// Does it in a runtime of its own, and ends that with all that cala-ledger has left running in the background.
async fn apart<T, R>(work: impl FnOnce() -> R + Send + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    R: Future<Output = Result<T, Failure>>,
{
    let outcome = task::spawn_blocking(move || {
        let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(work());
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    });
    outcome.await?
}

async fn ledger(pool: &PgPool, migrate: bool) -> Result<(CalaLedger, Jobs), Failure> {
    let config = CalaLedgerConfig::builder().pool(pool.clone()).exec_migrations(migrate).build()?;
    let mut jobs = Jobs::init(JobSvcConfig::builder().pool(pool.clone()).build()?).await?;
    let cala = CalaLedger::init(config, &mut jobs).await?;
    Ok((cala, jobs))
}

fn deposit_template() -> NewTxTemplate {
    let param = |name: &str, kind| {
        NewParamDefinition::builder().name(name).r#type(kind).build().expect("a parameter without a default is valid")
    };
    let entry = |kind: &str, account: &str, direction: &str| {
        NewTxTemplateEntry::builder()
            .entry_type(kind)
            .account_id(account)
            .layer("SETTLED")
            .direction(direction)
            .units("params.amount")
            .currency("'USD'")
            .build()
            .expect("the expressions of an entry are valid")
    };
    NewTxTemplate::builder()
        .id(Uuid::now_v7())
        .code(CODE)
        .params(vec![
            param("journal", ParamDataType::Uuid),
            param("payer", ParamDataType::Uuid),
            param("account", ParamDataType::Uuid),
            param("amount", ParamDataType::Decimal),
            param("meta", ParamDataType::Json),
        ])
        .transaction(
            NewTxTemplateTransaction::builder()
                .effective("date()")
                .journal_id("params.journal")
                .metadata("params.meta")
                .build()
                .expect("the expressions of a transaction are valid"),
        )
        .entries(vec![
            entry("'DEPOSIT_DR'", "params.payer", "DEBIT"),
            entry("'DEPOSIT_CR'", "params.account", "CREDIT"),
        ])
        .build()
}

struct Depositor {
    cala: CalaLedger,
    journal: JournalId,
    accounts: Arc<[(AccountId, AccountId)]>,
    deposits: Deposits,
    asked: Deposit,
}

impl Caller for Depositor {
    fn next(&mut self) {
        self.asked = self.deposits.draw();
    }

    async fn attempt(&mut self) -> Attempt {
        let Deposit { account, cents } = self.asked;
        let (payer, account) = self.accounts[account];
        let mut params = Params::new();
        params.insert("journal", self.journal);
        params.insert("payer", payer);
        params.insert("account", account);
        params.insert("amount", Decimal::new(cents, 2));
        params.insert("meta", json!({ "actor": ACTOR, "description": DESCRIPTION, "reason": REASON }));
        match self.cala.post_transaction(TransactionId::new(), CODE, params).await {
            Ok(_) => Attempt::Accepted,
            // A deadlock, a lost race or a wait that was too long: it asks to be tried again.
            Err(Fail::Transient(_)) => Attempt::Refused,
            Err(error) => Attempt::Dropped(error.to_string()),
        }
    }
}

//! One batch: its commands are decided one after another, each seeing what those before it did, and their events are
//! appended together.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::{Command, Done, ExecuteError, Expected, Failure, Waiting, recent::Recorded};
use crate::state::{Aggregates, Loaded, NewEvent, Outcome, StreamKey, UnitOfWork};
#[cfg(debug_assertions)]
use crate::store::Opener;
use crate::{
    cause::chain,
    clock::Clock,
    domain::{
        Books, Event,
        posting::{Unbalanced, balanced},
    },
    event::{Metadata, Position, RecordedEvent},
    operations::{OperationRejection, Refusal},
    store::{
        Keys, PersonKey, Store, StoreError,
        events::{self, Addition},
        idempotency::{self, Given, KeyDigest},
        snapshots,
    },
    terms::calendar::is_recordable,
};

/// How often one command may ask for further aggregates. Each round reaches one reference further, as from a payment
/// to its order to its services; no operation goes that deep.
pub(super) const ROUNDS: usize = 32;

/// How often a batch looks ahead for what its later commands will ask for. Beyond that each command loads for itself,
/// so that a batch of commands that need each other costs no more than its square.
const LOOKS_AHEAD: usize = 8;

/// The most bytes of an event, payload and metadata together. Texts have limits that keep an event far below it; a document
/// of thousands of lines, or money that covers thousands of charges, would come near to it.
pub const LARGEST_EVENT: usize = 512 << 10;

pub(super) type Verdict = Result<Done, ExecuteError>;

#[derive(Debug)]
pub(super) struct Batch {
    pub waiting: Vec<Waiting>,
    /// Of those commands that have been decided, which are the first ones.
    pub verdicts: Vec<Verdict>,
    created: Created,
    /// What texts about persons are sealed by.
    person_keys: Keys,
    /// The narrow keys, in the order of the commands.
    keys: Vec<Option<KeyDigest>>,
    /// Where the book ends before it.
    base: Position,
    /// What has been answered under these keys, by earlier batches and by this one.
    given: HashMap<KeyDigest, Given>,
    /// The keys first answered in this batch.
    new_keys: Vec<KeyDigest>,
    drafts: Vec<Draft>,
    /// What the aggregates were before the batch.
    before: HashMap<StreamKey, Option<Loaded>>,
    unreadable: HashMap<StreamKey, Arc<StoreError>>,
    /// The stream that tells which period is open.
    periods: StreamKey,
    looks_ahead: usize,
    /// How often the next command has asked for aggregates.
    rounds: usize,
}

/// An event that is to be appended, and its JSON.
#[derive(Debug)]
pub(super) struct Draft {
    event: NewEvent,
    payload: String,
    of_command: Arc<CommandMetadata>,
}

/// What is recorded with each event of a command.
#[derive(Clone, Debug)]
struct CommandMetadata {
    metadata: Metadata,
    column: String,
}

/// What is done about streams that a command creates under identifiers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    /// They are taken for new, which spares a look into the book.
    Trusted,
    /// They are looked up, because a command in this batch has used an identifier a second time.
    LookedUp,
}

enum Decision {
    Made(Verdict),
    /// This is not in memory.
    Missing(Wanted),
}

/// What commands ask for: streams, and the keys of persons.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    streams: HashSet<StreamKey>,
    persons: HashSet<Box<str>>,
}

/// The keys that the texts of some events are to be sealed by, by the stream.
pub(super) type Seals = HashMap<StreamKey, Arc<PersonKey>>;

impl Wanted {
    fn streams(streams: impl IntoIterator<Item = StreamKey>) -> Self {
        Self { streams: streams.into_iter().collect(), ..Self::default() }
    }

    fn extend(&mut self, further: Self) {
        self.streams.extend(further.streams);
        self.persons.extend(further.persons);
    }
}

impl Draft {
    fn of(event: NewEvent, seals: &Seals, of_command: &Arc<CommandMetadata>) -> Self {
        let key = seals.get(&event.stream);
        let payload = match key {
            None => event.event.payload(),
            Some(key) => {
                let mut sealed = event.event.clone();
                key.seal(&mut sealed);
                sealed.payload()
            }
        };
        // Whoever takes the event over from memory relies on it.
        #[cfg(debug_assertions)]
        {
            let mut read = Event::decode(event.stream.aggregate_type, &payload).expect("what is written can be read");
            assert_eq!(read.payload(), payload, "an event is what is read of it");
            if let Some(key) = key {
                Opener::by(key).open(&read.event_type(), &mut read).expect("what is sealed can be opened");
            }
            assert_eq!(read, event.event, "and so are its texts");
            assert_eq!(Metadata::read(&of_command.column), of_command.metadata, "and what surrounds it");
        }
        Self { event, payload, of_command: Arc::clone(of_command) }
    }

    /// Why it cannot be stored.
    fn rejection(&self) -> Option<OperationRejection> {
        let bytes = self.payload.len() + self.of_command.column.len();
        if bytes > LARGEST_EVENT {
            return Some(OperationRejection::EventTooLarge { bytes, most: LARGEST_EVENT });
        }
        has_nul(&self.payload).then_some(OperationRejection::TextWithNul)
    }

    fn addition(&self) -> Addition<'_> {
        Addition { event: &self.event, payload: &self.payload, metadata: &self.of_command.column }
    }

    fn recorded(self, position: Position, recorded_at: DateTime<Utc>) -> Recorded {
        let Self { event: NewEvent { stream, sequence, event }, payload, of_command } = self;
        let CommandMetadata { metadata, column } = Arc::unwrap_or_clone(of_command);
        let size = payload.len() + column.len();
        let aggregate_id = stream.aggregate_id.into();
        Recorded {
            event: Arc::new(RecordedEvent { position, aggregate_id, sequence, event, metadata, recorded_at }),
            size,
        }
    }
}

impl Batch {
    /// An empty batch, to be appended where the book ends.
    pub fn new(base: Position, created: Created, person_keys: Keys) -> Self {
        Self {
            person_keys,
            waiting: Vec::new(),
            verdicts: Vec::new(),
            created,
            keys: Vec::new(),
            base,
            given: HashMap::new(),
            new_keys: Vec::new(),
            drafts: Vec::new(),
            before: HashMap::new(),
            unreadable: HashMap::new(),
            periods: StreamKey::of(&Books::id()),
            looks_ahead: 0,
            rounds: 0,
        }
    }

    /// Takes further commands in, to be decided.
    pub fn extend(&mut self, waiting: impl IntoIterator<Item = Waiting>) {
        for waiting in waiting {
            let idempotency = waiting.command.idempotency.as_ref();
            self.keys.push(idempotency.map(|key| idempotency::digest(&key.scope, &key.key)));
            self.waiting.push(waiting);
        }
    }

    /// Looks up what has been answered under the keys of this batch. The lock of the head must be held: what another
    /// process answered a moment ago counts.
    pub async fn recall(&mut self, transaction: &mut PgConnection) -> Result<(), StoreError> {
        let keys: Vec<KeyDigest> = self.keys.iter().flatten().copied().collect();
        if !keys.is_empty() {
            self.given = idempotency::given(transaction, &keys).await?;
        }
        Ok(())
    }

    /// Decides all commands, in order. What they ask for and is not in memory is loaded for the rest of the batch at
    /// once, and they are asked again.
    pub async fn decide(
        &mut self,
        connection: &mut PgConnection,
        store: &Store,
        aggregates: &mut Aggregates,
    ) -> Result<(), StoreError> {
        while let Some(Wanted { streams, persons }) = self.decide_from_memory(aggregates) {
            if !persons.is_empty() {
                self.person_keys.provide(persons).await?;
            }
            let streams: Vec<StreamKey> = streams.into_iter().collect();
            for (stream, loaded) in snapshots::load(connection, store, &streams).await? {
                match loaded {
                    Ok(loaded) => _ = aggregates.insert(stream, loaded),
                    Err(error) => {
                        tracing::error!(?stream, error = %chain(&error), "a stream cannot be read");
                        self.unreadable.insert(stream, error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Decides commands as far as the memory has what they ask for; otherwise answers with what must be loaded.
    pub fn decide_from_memory(&mut self, aggregates: &mut Aggregates) -> Option<Wanted> {
        while self.verdicts.len() < self.waiting.len() {
            let index = self.verdicts.len();
            let missing = match self.decide_one(index, aggregates) {
                Decision::Made(verdict) => {
                    self.verdicts.push(verdict);
                    self.rounds = 0;
                    continue;
                }
                Decision::Missing(missing) => missing,
            };
            if self.rounds == ROUNDS {
                let failure = Failure::Database(Arc::new(StoreError::NeverLoaded { rounds: ROUNDS }));
                self.verdicts.push(Err(failure.into()));
                self.rounds = 0;
                continue;
            }
            self.rounds += 1;
            let mut wanted = missing;
            if self.looks_ahead < LOOKS_AHEAD {
                self.looks_ahead += 1;
                for later in index + 1..self.waiting.len() {
                    wanted.extend(self.missing_for(later, aggregates));
                }
            }
            wanted.streams.retain(|stream| !self.unreadable.contains_key(stream));
            return Some(wanted);
        }
        None
    }

    /// Appends what was decided and keeps what is to be answered; answers with the time of recording, or with `None`, and
    /// then nothing is done, if the book does not end where it had to, or the clock is not what it has to be.
    pub async fn append(
        &self,
        connection: &mut PgConnection,
        clock: &Clock,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let Some(bounds) = clock.bounds() else { return Ok(None) };
        let additions: Vec<Addition<'_>> = self.drafts.iter().map(Draft::addition).collect();
        let answers: Vec<(KeyDigest, &Given)> =
            self.new_keys.iter().filter_map(|key| Some((*key, self.given.get(key)?))).collect();
        events::append(connection, self.base, bounds, clock.tolerance(), &additions, &answers).await
    }

    /// What is left of it once it is durable: who waits for which verdict, and its events as they stand in the book now, if
    /// it is known when they were recorded.
    pub fn landed(
        self,
        recorded_at: Option<DateTime<Utc>>,
    ) -> (impl Iterator<Item = (Waiting, Verdict)>, impl Iterator<Item = Recorded>) {
        let drafts = self.drafts.into_iter().zip(self.base + 1..);
        let events = recorded_at.map(|time| drafts.map(move |(draft, position)| draft.recorded(position, time)));
        (self.waiting.into_iter().zip(self.verdicts), events.into_iter().flatten())
    }

    /// Whether the batch stands in the book already: its first event, or its first key, where that must be.
    pub async fn stands(&self, transaction: &mut PgConnection) -> Result<bool, StoreError> {
        if let Some(draft) = self.drafts.first() {
            return events::stands(transaction, self.base + 1, &draft.addition()).await;
        }
        Ok(!idempotency::given(transaction, self.new_keys.get(..1).unwrap_or_default()).await?.is_empty())
    }

    /// Puts the aggregates back to what they were before the batch.
    pub fn undo(&mut self, aggregates: &mut Aggregates) {
        for (stream, before) in mem::take(&mut self.before) {
            match before {
                Some(loaded) => _ = aggregates.insert(stream, loaded),
                None => aggregates.remove(&stream),
            }
        }
    }

    /// Whether all of its commands are decided.
    pub fn is_decided(&self) -> bool {
        self.verdicts.len() == self.waiting.len()
    }

    /// The number of its commands, or of its events, if those are more.
    pub fn size(&self) -> usize {
        self.waiting.len().max(self.drafts.len())
    }

    /// Whether there is nothing to commit.
    pub fn records_nothing(&self) -> bool {
        self.drafts.is_empty() && self.new_keys.is_empty()
    }

    /// The keys of commands that the domain has refused. Had they been answered before, they would get that answer.
    pub fn keys_of_refused(&self) -> Vec<KeyDigest> {
        let refused = self.verdicts.iter().zip(&self.keys);
        refused
            .filter(|(verdict, _)| matches!(verdict, Err(ExecuteError::Refused(_))))
            .filter_map(|(_, key)| *key)
            .collect()
    }

    pub fn base(&self) -> Position {
        self.base
    }

    /// Where the book ends after this batch.
    pub fn last(&self) -> Position {
        self.base + self.drafts.len() as u64
    }

    /// The streams that grew.
    pub fn grown(&self) -> HashSet<&StreamKey> {
        self.drafts.iter().map(|draft| &draft.event.stream).collect()
    }

    /// Whether the batch has changed this stream.
    pub fn changes(&self, stream: &StreamKey) -> bool {
        self.before.contains_key(stream)
    }

    fn decide_one(&mut self, index: usize, aggregates: &mut Aggregates) -> Decision {
        let waiting = &self.waiting[index];
        if let Some(verdict) = self.settled(index) {
            return Decision::Made(verdict);
        }
        let mut books = self.books(waiting, aggregates);
        let decided = waiting.command.operation.decide(&mut books);
        // Whatever is recorded needs to know which period is open.
        let periods = aggregates.get(&self.periods).map(Loaded::state::<Books>);
        if periods.is_none() || !books.missing().is_empty() {
            let mut missing = books.missing().to_vec();
            if periods.is_none() && !missing.contains(&self.periods) {
                missing.push(self.periods.clone());
            }
            return match missing.iter().find_map(|stream| self.unreadable.get(stream)) {
                Some(error) => Decision::Made(Err(Failure::Database(Arc::clone(error)).into())),
                None => Decision::Missing(Wanted::streams(missing)),
            };
        }
        let open_from = periods.and_then(|periods| periods.open_from);
        let answer = match decided {
            Ok(answer) => answer,
            Err(refusal) => return Decision::Made(Err(refusal.into())),
        };
        let Outcome { mut events, touched } = books.finish();
        if let Some(stale) = waiting.command.expected.as_ref().and_then(|expected| stale(expected, &events, &touched)) {
            return Decision::Made(Err(Refusal::from(stale).into()));
        }
        if let Err(unbalanced) = all_balanced(&events) {
            tracing::error!(command = %waiting.command.id, %unbalanced, "an operation made an event that does not balance");
            return Decision::Made(Err(Failure::Unbalanced(unbalanced).into()));
        }

        let seals = match seals(&mut events, &touched, &self.person_keys) {
            Ok(seals) => seals,
            Err(_) if !self.person_keys.are_unlocked() => {
                return Decision::Made(Err(Failure::Database(Arc::new(StoreError::NoMasterKey)).into()));
            }
            Err(persons) => return Decision::Missing(Wanted { persons, ..Wanted::default() }),
        };
        // Mostly the batch before is being appended meanwhile, so that there is time for it.
        let drafts = match drafted(events, &seals, &waiting.command, open_from) {
            Ok(drafts) => drafts,
            Err(rejection) => return Decision::Made(Err(Refusal::from(rejection).into())),
        };

        // From here on the commands after this one see what it did.
        for (stream, loaded) in touched {
            if aggregates.get(&stream).is_some_and(|known| known.sequence == loaded.sequence) {
                aggregates.promote(&stream);
                continue;
            }
            let before = aggregates.insert(stream.clone(), loaded);
            self.before.entry(stream).or_insert(before);
        }
        self.drafts.extend(drafts);
        let position = self.last();
        if let (Some(key), Some(idempotency)) = (self.keys[index], &waiting.command.idempotency) {
            let fingerprint = idempotency.fingerprint;
            self.given.insert(key, Given { fingerprint, position, answer: answer.clone() });
            self.new_keys.push(key);
        }
        Decision::Made(Ok(Done { position, answer, replayed: false }))
    }

    fn books<'b>(&self, waiting: &'b Waiting, aggregates: &'b Aggregates) -> UnitOfWork<'b> {
        let books = UnitOfWork::new(aggregates, &waiting.command.context, waiting.command.id);
        match self.created {
            Created::Trusted => books,
            Created::LookedUp => books.looking_up_created(),
        }
    }

    /// What a command is answered without asking the domain: it waited too long, or has been answered before.
    fn settled(&self, index: usize) -> Option<Verdict> {
        let waiting = &self.waiting[index];
        if let (Some(key), Some(idempotency)) = (self.keys[index], &waiting.command.idempotency)
            && let Some(given) = self.given.get(&key)
        {
            return Some(if given.fingerprint == idempotency.fingerprint {
                Ok(Done { position: given.position, answer: given.answer.clone(), replayed: true })
            } else {
                Err(ExecuteError::KeyReused)
            });
        }
        (waiting.deadline <= Instant::now()).then(|| Err(Failure::DeadlinePassed.into()))
    }

    /// What a later command would ask for, as things stand now.
    fn missing_for(&self, index: usize, aggregates: &Aggregates) -> Wanted {
        if self.settled(index).is_some() {
            return Wanted::default();
        }
        let waiting = &self.waiting[index];
        let mut books = self.books(waiting, aggregates);
        // Only what it reads matters here, and about whom it writes; it is decided when its turn comes.
        let _ = waiting.command.operation.decide(&mut books);
        if !books.missing().is_empty() {
            return Wanted::streams(books.missing().iter().cloned());
        }
        let Outcome { mut events, touched } = books.finish();
        let persons = seals(&mut events, &touched, &self.person_keys).err().unwrap_or_default();
        Wanted { persons, ..Wanted::default() }
    }
}

/// The refusal of a command whose sender has seen another version than it would change. What the domain refuses anyway is
/// refused for that reason (RFC 9110, section 13.2.1).
fn stale(
    Expected { aggregate_id, versions }: &Expected,
    events: &[NewEvent],
    touched: &HashMap<StreamKey, Loaded>,
) -> Option<OperationRejection> {
    let is_of_it = |stream: &StreamKey| *stream.aggregate_id == **aggregate_id;
    let after = touched.iter().find(|(stream, _)| is_of_it(stream)).map_or(0, |(_, loaded)| loaded.sequence);
    let version = after - events.iter().filter(|event| is_of_it(&event.stream)).count() as u64;
    (!versions.contains(&version)).then_some(OperationRejection::Stale { version })
}

/// The keys for the texts of these events, or whose keys are not in memory.
fn seals(
    events: &mut [NewEvent],
    touched: &HashMap<StreamKey, Loaded>,
    keys: &Keys,
) -> Result<Seals, HashSet<Box<str>>> {
    let (mut seals, mut missing) = (Seals::new(), HashSet::new());
    for NewEvent { stream, event, .. } in events {
        if seals.contains_key(stream) || !has_plain_text(event) {
            continue;
        }
        let person =
            touched.get(stream).map_or(&*stream.aggregate_id, |state| state.any().person(&stream.aggregate_id));
        match keys.current(person) {
            Some(key) => _ = seals.insert(stream.clone(), key),
            None => _ = missing.insert(person.into()),
        }
    }
    if missing.is_empty() { Ok(seals) } else { Err(missing) }
}

/// Keys for a rehearsal, by which nothing is recorded.
pub(super) fn rehearsed_seals(events: &mut [NewEvent]) -> Seals {
    let with_texts = events.iter_mut().filter_map(|new| has_plain_text(&mut new.event).then(|| new.stream.clone()));
    with_texts.map(|stream| (stream, Arc::new(PersonKey::generate()))).collect()
}

fn has_plain_text(event: &mut Event) -> bool {
    event.sealed().iter().any(|(_, text)| text.plain().is_some_and(|text| !text.is_empty()))
}

/// The events as they will be stored. Refused is what PostgreSQL, a projection or the log could not hold, so that it does
/// not stand in the way of the commands that are appended together with it.
pub(super) fn drafted(
    mut events: Vec<NewEvent>,
    seals: &Seals,
    command: &Command,
    open_from: Option<DateTime<Utc>>,
) -> Result<Vec<Draft>, OperationRejection> {
    if !is_recordable(command.context.occurred_at) {
        return Err(OperationRejection::DateOutOfRange);
    }
    let metadata = command.context.to_metadata(command.id, open_from);
    let of_command = Arc::new(CommandMetadata { column: metadata.to_column(), metadata });
    // In what is sealed nobody finds it any more.
    let has_nul_text = |new: &mut NewEvent| {
        new.event.sealed().iter().any(|(_, text)| text.plain().is_some_and(|text| text.contains('\0')))
    };
    if has_nul(&of_command.column) || events.iter_mut().any(has_nul_text) {
        return Err(OperationRejection::TextWithNul);
    }
    let drafts: Vec<Draft> = events.into_iter().map(|event| Draft::of(event, seals, &of_command)).collect();
    match drafts.iter().find_map(|draft| draft.rejection()) {
        Some(rejection) => Err(rejection),
        None => Ok(drafts),
    }
}

/// Whether JSON holds a NUL in a text: `\u0000`, unless its backslash is escaped itself.
fn has_nul(json: &str) -> bool {
    let escapes = |before: &str| before.bytes().rev().take_while(|byte| *byte == b'\\').count();
    json.match_indices(r"\u0000").any(|(at, _)| escapes(&json[..at]) % 2 == 0)
}

/// No unbalanced event is ever appended.
pub(super) fn all_balanced(events: &[NewEvent]) -> Result<(), Unbalanced> {
    events.iter().try_for_each(|new| balanced(&new.event.postings()))
}

#[cfg(test)]
mod tests {
    use rust_decimal::{Decimal, dec};

    use super::*;
    use crate::domain::{
        AccountEvent, Money,
        account::{ChargeOrigin, RevenueShare},
    };

    fn invoiced(tax: Decimal) -> NewEvent {
        let money = |amount| Money::parse(amount, "USD").expect("dollars");
        let event = Event::Account(AccountEvent::Charged {
            entry: 1,
            origin: ChargeOrigin::Invoice("inv_1".parse().expect("an invoice")),
            amount: money("12.00"),
            balance: money("-12.00"),
            description: "invoice 1".into(),
            revenue: Some(RevenueShare { net: dec!(10), tax, residue: Decimal::ZERO }),
            due_on: chrono::NaiveDate::MIN,
            reverses: None,
        });
        let stream = StreamKey::stored("account", "acc_1").expect("a stream");
        NewEvent { stream, sequence: 1, event }
    }

    #[test]
    fn a_nul_is_found_whatever_stands_before_it() {
        for text in ["\0", "a\0b", "\\\0", "\\\\\0"] {
            assert!(has_nul(&serde_json::to_string(text).expect("a text")), "{text:?}");
        }
        for text in ["", "\\u0000", "\\\\u0000", "u0000", "\u{1}"] {
            assert!(!has_nul(&serde_json::to_string(text).expect("a text")), "{text:?}");
        }
    }

    #[test]
    fn an_unbalanced_event_is_not_appended() {
        assert_eq!(all_balanced(&[invoiced(dec!(2))]), Ok(()));
        let unbalanced = all_balanced(&[invoiced(dec!(2)), invoiced(dec!(3))]).expect_err("3 is too much tax");
        assert_eq!(unbalanced.by, dec!(-1));
    }
}

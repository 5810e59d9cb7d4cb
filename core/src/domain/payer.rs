//! A payer: the legal person whose details stand on a customer's documents.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use super::{
    CustomerId, Id, LedgerAggregate, LedgerEvent, Mentions, Noun, Owner, function::Function, posting::JournalEntry,
    version::written_version,
};
use crate::terms::{
    refusal::{NAME_MISSING, absent, conflict, invalid, refusals},
    rule::Rule,
    sealed::{Sealed, Texts},
};

pub type PayerId = Id<Payer>;

/// Fixed for ever when the payer is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PayerKind {
    Individual,
    Company,
    SoleProprietor,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// ISO 3166-1 alpha-2, or the name of the country where the source has only that. It names nobody, and taxes go by it
    /// for longer than anybody's street may be kept.
    pub country: String,
    #[serde(default, skip_serializing_if = "Sealed::is_empty")]
    pub postal_code: Sealed,
    #[serde(default, skip_serializing_if = "Sealed::is_empty")]
    pub city: Sealed,
    #[serde(default, skip_serializing_if = "Sealed::is_empty")]
    pub street: Sealed,
}

/// An address as it stands on a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrintedAddress {
    /// ISO 3166-1 alpha-2, or the name of the country where the source has only that.
    pub country: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub postal_code: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub city: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub street: String,
}

/// The payer as it stands on a document: frozen there, whatever becomes of the payer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PayerSnapshot {
    pub payer: PayerId,
    pub kind: PayerKind,
    pub name: String,
    pub address: PrintedAddress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_number: Option<String>,
}

#[derive(Clone, Debug)]
pub enum PayerCommand {
    Create(Profile),
    Change(PayerChange),
}

/// Whose payer it is, and the details that stand on documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    pub customer: CustomerId,
    pub kind: PayerKind,
    pub name: Sealed,
    pub address: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_number: Option<Sealed>,
}

#[derive(Clone, Debug)]
pub enum PayerChange {
    Rename { name: Sealed },
    Move { address: Address },
    ChangeTaxNumber { tax_number: Option<Sealed> },
    Deactivate,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayerEvent {
    Created(Profile),
    Renamed { name: Sealed },
    Moved { address: Address },
    TaxNumberChanged { tax_number: Option<Sealed> },
    Deactivated {},
}

refusals! {
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum PayerRejection {
        #[error("the payer already exists")]
        AlreadyCreated = conflict("payer-exists", "The payer already exists"),
        #[error("there is no such payer")]
        NotCreated = absent("payer-not-found", "There is no such payer"),
        #[error("a payer needs a name")]
        NameMissing at "/name" = NAME_MISSING,
        #[error("an address needs a country")]
        CountryMissing at "/address/country" = invalid("country-missing", "An address needs a country"),
        #[error("the payer is deactivated")]
        Deactivated = conflict("payer-deactivated", "The payer is deactivated"),
        #[error("the payer belongs to another customer")]
        ForeignPayer at "/payer" = invalid("foreign-payer", "The payer belongs to another customer"),
        #[error("the details of the payer are erased, so that it stands on no further document")]
        Erased at "/payer" = conflict("payer-erased", "The details of the payer are erased"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    #[default]
    Unknown,
    Active(Box<Profile>),
    Deactivated(Box<Profile>),
}

impl Noun for Payer {
    const PREFIX: &'static str = "pyr";
}

impl LedgerAggregate for Payer {
    const FOLD_VERSION: i32 = 3;
    const READ_BY: Function = Function::PayersRead;
    const HOLDS_TEXTS: bool = true;

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Unknown => Owner::Everybody,
            Self::Active(profile) | Self::Deactivated(profile) => Owner::Customer(&profile.customer),
        }
    }
}

impl Payer {
    /// The payer as a document of this customer shows it today.
    pub fn snapshot(&self, id: &PayerId, customer: &CustomerId) -> Result<PayerSnapshot, PayerRejection> {
        let (Self::Active(profile) | Self::Deactivated(profile)) = self else {
            return Err(PayerRejection::NotCreated);
        };
        if profile.customer != *customer {
            return Err(PayerRejection::ForeignPayer);
        }
        if matches!(self, Self::Deactivated(_)) {
            return Err(PayerRejection::Deactivated);
        }
        profile.printed(id).ok_or(PayerRejection::Erased)
    }
}

impl Profile {
    /// The details for a document; `None` if they are erased.
    fn printed(&self, id: &PayerId) -> Option<PayerSnapshot> {
        let tax_number = match &self.tax_number {
            Some(number) => Some(number.plain()?.to_owned()),
            None => None,
        };
        Some(PayerSnapshot {
            payer: id.clone(),
            kind: self.kind,
            name: self.name.plain()?.to_owned(),
            address: self.address.printed()?,
            tax_number,
        })
    }
}

impl Address {
    fn printed(&self) -> Option<PrintedAddress> {
        Some(PrintedAddress {
            country: self.country.clone(),
            postal_code: self.postal_code.plain()?.to_owned(),
            city: self.city.plain()?.to_owned(),
            street: self.street.plain()?.to_owned(),
        })
    }

    /// The texts of an address in the field `address` of an event.
    pub(super) fn sealed(&mut self) -> [(&'static str, &mut Sealed); 3] {
        let Self { country: _, postal_code, city, street } = self;
        [("address/postal_code", postal_code), ("address/city", city), ("address/street", street)]
    }
}

impl Aggregate for Payer {
    const TYPE: &'static str = "payer";
    type Command = PayerCommand;
    type Event = PayerEvent;
    type Error = PayerRejection;
    type Services = ();

    async fn handle(&mut self, command: PayerCommand, (): &(), sink: &EventSink<Self>) -> Result<(), PayerRejection> {
        use PayerChange as Change;
        use PayerCommand as C;
        use PayerEvent as E;
        use PayerRejection as R;

        let named = |name: &Sealed| if name.is_blank() { Err(R::NameMissing) } else { Ok(()) };
        let placed = |address: &Address| match address.country.trim().is_empty() {
            true => Err(R::CountryMissing),
            false => Ok(()),
        };
        let event = match (&*self, command) {
            (Self::Unknown, C::Create(profile)) => {
                named(&profile.name)?;
                placed(&profile.address)?;
                E::Created(profile)
            }
            (Self::Unknown, C::Change(_)) => return Err(R::NotCreated),
            (Self::Active(_) | Self::Deactivated(_), C::Create(_)) => return Err(R::AlreadyCreated),
            (Self::Deactivated(_), C::Change(_)) => return Err(R::Deactivated),
            (Self::Active(_), C::Change(Change::Rename { name })) => {
                named(&name)?;
                E::Renamed { name }
            }
            (Self::Active(_), C::Change(Change::Move { address })) => {
                placed(&address)?;
                E::Moved { address }
            }
            (Self::Active(_), C::Change(Change::ChangeTaxNumber { tax_number })) => E::TaxNumberChanged { tax_number },
            (Self::Active(_), C::Change(Change::Deactivate)) => E::Deactivated {},
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: PayerEvent) {
        match (&mut *self, event) {
            (Self::Unknown, PayerEvent::Created(profile)) => *self = Self::Active(Box::new(profile)),
            (Self::Active(profile), PayerEvent::Renamed { name }) => profile.name = name,
            (Self::Active(profile), PayerEvent::Moved { address }) => profile.address = address,
            (Self::Active(profile), PayerEvent::TaxNumberChanged { tax_number }) => profile.tax_number = tax_number,
            (Self::Active(profile), PayerEvent::Deactivated {}) => *self = Self::Deactivated(profile.clone()),
            (Self::Unknown | Self::Active(_) | Self::Deactivated(_), _) => {}
        }
    }
}

impl DomainEvent for PayerEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created(_) => "payer.created",
            Self::Renamed { .. } => "payer.renamed",
            Self::Moved { .. } => "payer.moved",
            Self::TaxNumberChanged { .. } => "payer.tax_number_changed",
            Self::Deactivated {} => "payer.deactivated",
        }
        .into()
    }

    fn event_version(&self) -> String {
        written_version(self)
    }
}

impl LedgerEvent for PayerEvent {
    type Aggregate = Payer;

    const VERSIONS: &'static [(&'static str, &'static str)] = &[
        ("payer.created", "1.1"),
        ("payer.deactivated", "1.0"),
        ("payer.moved", "1.1"),
        ("payer.renamed", "1.1"),
        ("payer.tax_number_changed", "1.1"),
    ];

    fn postings(&self) -> JournalEntry {
        Vec::new()
    }

    fn rule(&self) -> Option<Rule> {
        None
    }

    fn mentions<'a>(&'a self, mentions: &mut Mentions<'a>) {
        match self {
            Self::Created(profile) => mentions.add(&profile.customer),
            Self::Renamed { .. } | Self::Moved { .. } | Self::TaxNumberChanged { .. } | Self::Deactivated {} => {}
        }
    }

    fn sealed(&mut self) -> Texts<'_> {
        let mut texts = Vec::new();
        match self {
            Self::Created(Profile { name, address, tax_number, .. }) => {
                texts.push(("name", name));
                texts.extend(address.sealed());
                texts.extend(tax_number.as_mut().map(|number| ("tax_number", number)));
            }
            Self::Renamed { name } => texts.push(("name", name)),
            Self::Moved { address } => texts.extend(address.sealed()),
            Self::TaxNumberChanged { tax_number } => {
                texts.extend(tax_number.as_mut().map(|number| ("tax_number", number)));
            }
            Self::Deactivated {} => {}
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};

    use super::*;
    use crate::domain::fixtures::{id, london};

    fn given(events: Vec<PayerEvent>) -> AggregateTestExecutor<Payer> {
        TestFramework::with(()).given(events)
    }

    fn nowhere() -> Address {
        Address { country: " ".into(), ..london() }
    }

    fn profile(name: &str, address: Address) -> Profile {
        let (customer, name) = (id("ada"), name.into());
        Profile { customer, kind: PayerKind::Individual, name, address, tax_number: None }
    }

    fn create(name: &str, address: Address) -> PayerCommand {
        PayerCommand::Create(profile(name, address))
    }

    fn created() -> PayerEvent {
        PayerEvent::Created(profile("Ada Byron", london()))
    }

    fn rename(name: &str) -> PayerCommand {
        PayerCommand::Change(PayerChange::Rename { name: name.into() })
    }

    fn number() -> Option<Sealed> {
        Some("GB123456789".into())
    }

    fn payer(events: Vec<PayerEvent>) -> Payer {
        let mut payer = Payer::default();
        events.into_iter().for_each(|event| payer.apply(event));
        payer
    }

    #[test]
    fn a_payer_is_created_renamed_moved_numbered_and_deactivated() {
        let paris = || Address { country: "FR".into(), city: "Paris".into(), ..london() };
        given(vec![]).when(create("Ada Byron", london())).then_expect_events(vec![created()]);
        for (command, event) in [
            (rename("Ada Lovelace"), PayerEvent::Renamed { name: "Ada Lovelace".into() }),
            (PayerCommand::Change(PayerChange::Move { address: paris() }), PayerEvent::Moved { address: paris() }),
            (
                PayerCommand::Change(PayerChange::ChangeTaxNumber { tax_number: number() }),
                PayerEvent::TaxNumberChanged { tax_number: number() },
            ),
            (PayerCommand::Change(PayerChange::Deactivate), PayerEvent::Deactivated {}),
        ] {
            given(vec![created()]).when(command).then_expect_events(vec![event]);
        }
    }

    #[test]
    fn a_snapshot_shows_the_payer_as_it_is_now() {
        let renamed = PayerEvent::Renamed { name: "Ada Lovelace".into() };
        let changed = PayerEvent::TaxNumberChanged { tax_number: number() };
        let snapshot = payer(vec![created(), renamed, changed]).snapshot(&id("ada"), &id("ada"));
        let told = snapshot.map(|payer| (payer.name, payer.tax_number));
        assert_eq!(told, Ok(("Ada Lovelace".into(), Some("GB123456789".into()))));
    }

    #[test]
    fn a_payer_whose_details_are_erased_is_on_no_further_document() {
        let PayerEvent::Created(profile) = created() else { unreachable!() };
        let address = |city| Address { city, ..london() };
        for erased in [
            Profile { name: Sealed::Erased, ..profile.clone() },
            Profile { address: address(Sealed::Erased), ..profile.clone() },
            Profile { tax_number: Some(Sealed::Erased), ..profile },
        ] {
            let erased = payer(vec![PayerEvent::Created(erased)]);
            assert_eq!(erased.snapshot(&id("ada"), &id("ada")), Err(PayerRejection::Erased));
        }
    }

    #[test]
    fn a_payer_is_created_once() {
        given(vec![created()]).when(create("Ada Byron", london())).then_expect_error(PayerRejection::AlreadyCreated);
    }

    #[test]
    fn nothing_happens_to_a_payer_that_is_not_created() {
        for command in [
            rename("Ada"),
            PayerCommand::Change(PayerChange::Move { address: london() }),
            PayerCommand::Change(PayerChange::Deactivate),
        ] {
            given(vec![]).when(command).then_expect_error(PayerRejection::NotCreated);
        }
        assert_eq!(Payer::Unknown.snapshot(&id("ada"), &id("ada")), Err(PayerRejection::NotCreated));
    }

    #[test]
    fn a_payer_without_a_name_is_refused() {
        given(vec![]).when(create(" ", london())).then_expect_error(PayerRejection::NameMissing);
        given(vec![created()]).when(rename("")).then_expect_error(PayerRejection::NameMissing);
    }

    #[test]
    fn an_address_without_a_country_is_refused() {
        given(vec![]).when(create("Ada Byron", nowhere())).then_expect_error(PayerRejection::CountryMissing);
        given(vec![created()])
            .when(PayerCommand::Change(PayerChange::Move { address: nowhere() }))
            .then_expect_error(PayerRejection::CountryMissing);
    }

    #[test]
    fn a_deactivated_payer_stays_as_it_is_and_is_on_no_document() {
        let deactivated = || vec![created(), PayerEvent::Deactivated {}];
        for command in [rename("Ada"), PayerCommand::Change(PayerChange::Deactivate)] {
            given(deactivated()).when(command).then_expect_error(PayerRejection::Deactivated);
        }
        assert_eq!(payer(deactivated()).snapshot(&id("ada"), &id("ada")), Err(PayerRejection::Deactivated));
    }

    #[test]
    fn a_payer_is_on_no_document_of_another_customer() {
        let snapshot = payer(vec![created()]).snapshot(&id("ada"), &id("charles"));
        assert_eq!(snapshot, Err(PayerRejection::ForeignPayer));
    }
}

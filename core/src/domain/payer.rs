//! A payer: the legal person whose details stand on a customer's documents.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use serde::{Deserialize, Serialize};

use super::{CustomerId, Id, LedgerAggregate, Noun};

pub type PayerId = Id<Payer>;

/// Fixed for ever when the payer is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayerKind {
    Individual,
    Company,
    SoleProprietor,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayerSnapshot {
    pub payer: PayerId,
    pub kind: PayerKind,
    pub name: String,
    pub address: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_number: Option<String>,
}

#[derive(Clone, Debug)]
pub enum PayerCommand {
    Create { customer: CustomerId, kind: PayerKind, name: String, address: Address, tax_number: Option<String> },
    Rename { name: String },
    Move { address: Address },
    ChangeTaxNumber { tax_number: Option<String> },
    Deactivate,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayerEvent {
    Created {
        customer: CustomerId,
        kind: PayerKind,
        name: String,
        address: Address,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tax_number: Option<String>,
    },
    Renamed {
        name: String,
    },
    Moved {
        address: Address,
    },
    TaxNumberChanged {
        tax_number: Option<String>,
    },
    Deactivated {},
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayerRejection {
    #[error("the payer already exists")]
    AlreadyCreated,
    #[error("there is no such payer")]
    NotCreated,
    #[error("a payer needs a name")]
    NameMissing,
    #[error("an address needs a country")]
    CountryMissing,
    #[error("the payer is deactivated")]
    Deactivated,
    #[error("the payer belongs to another customer")]
    ForeignPayer,
}

impl PayerRejection {
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyCreated => "payer-exists",
            Self::NotCreated => "payer-not-found",
            Self::NameMissing => "name-missing",
            Self::CountryMissing => "country-missing",
            Self::Deactivated => "payer-deactivated",
            Self::ForeignPayer => "foreign-payer",
        }
    }
}

/// What a payer knows of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub customer: CustomerId,
    pub kind: PayerKind,
    pub name: String,
    pub address: Address,
    pub tax_number: Option<String>,
    pub active: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    #[default]
    Unknown,
    Created(Box<Profile>),
}

impl Noun for Payer {
    const PREFIX: &'static str = "pyr";
}

impl LedgerAggregate for Payer {
    const FOLD_VERSION: i32 = 1;
}

impl Payer {
    /// The payer as a document of this customer shows it today.
    pub fn snapshot(&self, id: &PayerId, customer: &CustomerId) -> Result<PayerSnapshot, PayerRejection> {
        let Self::Created(profile) = self else {
            return Err(PayerRejection::NotCreated);
        };
        if profile.customer != *customer {
            return Err(PayerRejection::ForeignPayer);
        }
        if !profile.active {
            return Err(PayerRejection::Deactivated);
        }
        Ok(PayerSnapshot {
            payer: id.clone(),
            kind: profile.kind,
            name: profile.name.clone(),
            address: profile.address.clone(),
            tax_number: profile.tax_number.clone(),
        })
    }
}

impl Aggregate for Payer {
    const TYPE: &'static str = "payer";
    type Command = PayerCommand;
    type Event = PayerEvent;
    type Error = PayerRejection;
    type Services = ();

    async fn handle(&mut self, command: PayerCommand, (): &(), sink: &EventSink<Self>) -> Result<(), PayerRejection> {
        use PayerCommand as C;
        use PayerEvent as E;
        use PayerRejection as R;

        let named = |name: &str| if name.trim().is_empty() { Err(R::NameMissing) } else { Ok(()) };
        let placed = |address: &Address| match address.country.trim().is_empty() {
            true => Err(R::CountryMissing),
            false => Ok(()),
        };
        let event = match (&*self, command) {
            (Self::Unknown, C::Create { customer, kind, name, address, tax_number }) => {
                named(&name)?;
                placed(&address)?;
                E::Created { customer, kind, name, address, tax_number }
            }
            (Self::Unknown, _) => return Err(R::NotCreated),
            (Self::Created(_), C::Create { .. }) => return Err(R::AlreadyCreated),
            (Self::Created(profile), _) if !profile.active => return Err(R::Deactivated),
            (Self::Created(_), C::Rename { name }) => {
                named(&name)?;
                E::Renamed { name }
            }
            (Self::Created(_), C::Move { address }) => {
                placed(&address)?;
                E::Moved { address }
            }
            (Self::Created(_), C::ChangeTaxNumber { tax_number }) => E::TaxNumberChanged { tax_number },
            (Self::Created(_), C::Deactivate) => E::Deactivated {},
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: PayerEvent) {
        match (&mut *self, event) {
            (Self::Unknown, PayerEvent::Created { customer, kind, name, address, tax_number }) => {
                let profile = Profile { customer, kind, name, address, tax_number, active: true };
                *self = Self::Created(Box::new(profile));
            }
            (Self::Created(profile), PayerEvent::Renamed { name }) => profile.name = name,
            (Self::Created(profile), PayerEvent::Moved { address }) => profile.address = address,
            (Self::Created(profile), PayerEvent::TaxNumberChanged { tax_number }) => profile.tax_number = tax_number,
            (Self::Created(profile), PayerEvent::Deactivated {}) => profile.active = false,
            (Self::Unknown, _) | (Self::Created(_), PayerEvent::Created { .. }) => {}
        }
    }
}

impl DomainEvent for PayerEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created { .. } => "payer.created",
            Self::Renamed { .. } => "payer.renamed",
            Self::Moved { .. } => "payer.moved",
            Self::TaxNumberChanged { .. } => "payer.tax_number_changed",
            Self::Deactivated {} => "payer.deactivated",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

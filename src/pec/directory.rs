//! The directory of providers (indice dei gestori, IGPEC): who signs, and for which domains.
//!
//! RFC 6109 §4.5: every provider works from a local copy, which tells certified recipients from
//! others, decides whose signatures count, and names the mailbox to which receipts between
//! providers go. A [`Directory`] is one such copy in memory; it never changes, a new copy takes
//! its place. Invariants:
//!
//! * A certificate is a provider's only when its SHA-1 is listed **and** the whole certificate
//!   stands in the same record: the digest finds, the octets decide (RFC 6109 §2.2.2).
//! * Names, domains and hashes are compared without case (RFC 6109 §4.5.1 to §4.5.5).
//!
//! * A copy answers as a whole: whoever judges takes one and stays with it.
//!
//! Not here: fetching, publishing and the signature around the file ([`crate::directory`]).

use std::collections::{HashMap, HashSet};

use trust::digest::sha1_hex;

use super::{
    address::{Address, AddressFault, Domain},
    facts::CertifiedDomains,
    ldif::{LdifFault, LdifRecord, read_ldif, write_attribute},
};

/// The root of the tree (RFC 6109 §4.5).
const BASE: &str = "o=postacert";

/// The OIDs of attributes and what they are called (RFC 6109 §8.2, RFC 4519 §2.5): a directory may
/// write either.
const ATTRIBUTES: [(&str, &str); 8] = [
    ("1.3.6.1.4.1.16572.2.2.1", "providercertificatehash"),
    ("1.3.6.1.4.1.16572.2.2.2", "providercertificate"),
    ("1.3.6.1.4.1.16572.2.2.3", "providername"),
    ("1.3.6.1.4.1.16572.2.2.4", "mailreceipt"),
    ("1.3.6.1.4.1.16572.2.2.5", "manageddomains"),
    ("1.3.6.1.4.1.16572.2.2.6", "ldiflocationurl"),
    ("1.3.6.1.4.1.16572.2.2.7", "providerunit"),
    ("2.5.4.13", "description"),
];

/// What a record has once (RFC 6109 §8.2).
const SINGLE_VALUES: [(&str, &str); 4] = [
    ("providername", "providerName"),
    ("providerunit", "providerUnit"),
    ("mailreceipt", "mailReceipt"),
    ("ldiflocationurl", "LDIFLocationURL"),
];

/// Why a file is no directory.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryFault {
    /// The file is no LDIF.
    #[error(transparent)]
    Ldif(#[from] LdifFault),
    /// A record lacks a mandatory attribute.
    #[error("the record `{record}` has no {attribute}")]
    Missing {
        /// The distinguished name.
        record: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// An address or domain is not valid.
    #[error("`{value}` in the record `{record}`: {fault}")]
    Value {
        /// The distinguished name.
        record: String,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        fault: AddressFault,
    },
    /// An attribute with one value has several: which one counts is not said.
    #[error("the record `{record}` has {attribute} more than once")]
    Repeated {
        /// The distinguished name.
        record: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// The distinguished name is not that of the provider and unit inside.
    #[error("the record `{0}` names another providerName or providerUnit inside")]
    OtherName(String),
    /// Two providers claim one domain: the copy cannot be trusted to route.
    #[error("the domain {domain} is claimed by both {first} and {second}")]
    DomainClaimedTwice {
        /// The domain.
        domain: Domain,
        /// The provider of the first record.
        first: String,
        /// The provider of the other.
        second: String,
    },
}

/// One record: a provider, or a secondary environment of it (RFC 6109 §4.5.7).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProviderRecord {
    /// `providerName`.
    pub name: String,
    /// `providerUnit`; `None` in the main record.
    pub unit: Option<String>,
    /// `mailReceipt`: where receipts between providers go.
    pub service_mailbox: Address,
    /// `managedDomains`.
    pub managed_domains: Vec<Domain>,
    /// `providerCertificate` in DER.
    pub certificates: Vec<Vec<u8>>,
    /// `providerCertificateHash` in lower case.
    pub certificate_hashes: Vec<String>,
    /// `LDIFLocationURL`; never in a secondary record.
    pub ldif_location: Option<String>,
    /// `description`.
    pub description: Option<String>,
}

impl ProviderRecord {
    /// A main record; the hashes are computed from the certificates.
    pub fn new(
        name: impl Into<String>,
        service_mailbox: Address,
        managed_domains: Vec<Domain>,
        certificates: Vec<Vec<u8>>,
    ) -> Self {
        Self {
            name: name.into(),
            unit: None,
            service_mailbox,
            managed_domains,
            certificate_hashes: certificates.iter().map(|der| sha1_hex(der)).collect(),
            certificates,
            ldif_location: None,
            description: None,
        }
    }

    /// Whether this record lists the domain; what the sender of a signed message must pass
    /// besides the signature (RFC 6109 §7).
    pub fn manages(&self, domain: &Domain) -> bool {
        self.managed_domains.contains(domain)
    }

    /// The distinguished name (RFC 6109 §4.5).
    pub fn distinguished_name(&self) -> String {
        let name = escaped(&self.name);
        match &self.unit {
            None => format!("providerName={name},{BASE}"),
            Some(unit) => format!("providerUnit={},providerName={name},{BASE}", escaped(unit)),
        }
    }

    pub(crate) fn has_certificate(&self, hash: &str, der: &[u8]) -> bool {
        self.certificate_hashes.iter().any(|listed| listed == hash)
            && self.certificates.iter().any(|listed| listed == der)
    }

    /// Whether both are records of one provider (`caseIgnoreMatch`).
    pub fn is_of(&self, name: &str) -> bool {
        same_text(&self.name, name)
    }

    fn read(record: &LdifRecord) -> Result<Self, DirectoryFault> {
        let dn = record.text("dn").unwrap_or_default();
        let missing = |attribute| DirectoryFault::Missing { record: dn.clone(), attribute };
        let value =
            |value: String, fault| DirectoryFault::Value { record: dn.clone(), value, fault };
        let texts = |name: &'static str| {
            record.values(name).map(|value| String::from_utf8_lossy(value).trim().to_owned())
        };
        for (name, attribute) in SINGLE_VALUES {
            if record.values(name).nth(1).is_some() {
                return Err(DirectoryFault::Repeated { record: dn.clone(), attribute });
            }
        }
        let name = record.text("providername").ok_or_else(|| missing("providerName"))?;
        let mailbox = record.text("mailreceipt").ok_or_else(|| missing("mailReceipt"))?;
        let service_mailbox =
            Address::parse(mailbox.trim()).map_err(|fault| value(mailbox.clone(), fault))?;
        let managed_domains = texts("manageddomains")
            .map(|text| Domain::parse(&text).map_err(|fault| value(text, fault)))
            .collect::<Result<Vec<_>, _>>()?;
        let certificates: Vec<Vec<u8>> =
            record.values("providercertificate").map(<[u8]>::to_vec).collect();
        let certificate_hashes: Vec<String> =
            texts("providercertificatehash").map(|hash| hash.to_ascii_lowercase()).collect();
        if certificates.is_empty() || certificate_hashes.is_empty() {
            return Err(missing("providerCertificate with providerCertificateHash"));
        }
        if managed_domains.is_empty() {
            return Err(missing("managedDomains"));
        }
        let unit = record.text("providerunit");
        let named = named(&dn, "providername").is_some_and(|named| same_text(&named, &name));
        let of_unit = match (self::named(&dn, "providerunit"), &unit) {
            (Some(named), Some(unit)) => same_text(&named, unit),
            (None, None) => true,
            _ => false,
        };
        if !named || !of_unit {
            return Err(DirectoryFault::OtherName(dn));
        }
        Ok(Self {
            name,
            service_mailbox,
            managed_domains,
            certificates,
            certificate_hashes,
            // The file of the main record is for all of them (RFC 6109 §4.5.6).
            ldif_location: record.text("ldiflocationurl").filter(|_| unit.is_none()),
            unit,
            description: record.text("description"),
        })
    }

    fn write(&self, octets: &mut Vec<u8>) {
        let mut put = |name: &str, value: &[u8]| write_attribute(octets, name, value, false);
        put("dn", self.distinguished_name().as_bytes());
        put("objectClass", b"top");
        put("objectClass", b"provider");
        if self.ldif_location.is_some() {
            put("objectClass", b"LDIFLocationURLObject");
        }
        put("providerName", self.name.as_bytes());
        if let Some(unit) = &self.unit {
            put("providerUnit", unit.as_bytes());
        }
        if let Some(description) = &self.description {
            put("description", description.as_bytes());
        }
        put("mailReceipt", self.service_mailbox.as_str().as_bytes());
        for domain in &self.managed_domains {
            put("managedDomains", domain.as_str().as_bytes());
        }
        if let Some(location) = &self.ldif_location {
            put("LDIFLocationURL", location.as_bytes());
        }
        for hash in &self.certificate_hashes {
            put("providerCertificateHash", hash.as_bytes());
        }
        for der in &self.certificates {
            write_attribute(octets, "providerCertificate;binary", der, true);
        }
        octets.push(b'\n');
    }
}

/// One copy of the directory.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Where the whole directory is published, as its base entry says.
    location: Option<String>,
    records: Vec<ProviderRecord>,
    by_hash: HashMap<String, Vec<usize>>,
    by_domain: HashMap<Domain, usize>,
    /// The domains of the service mailboxes, which their records need not manage.
    of_services: HashSet<Domain>,
}

impl Directory {
    /// Makes a directory of `records`. Environments of one provider may share a domain; the
    /// first of its records then answers for it.
    pub fn new(records: Vec<ProviderRecord>) -> Result<Self, DirectoryFault> {
        let mut by_hash: HashMap<String, Vec<usize>> = HashMap::new();
        let mut by_domain: HashMap<Domain, usize> = HashMap::new();
        for (index, record) in records.iter().enumerate() {
            for hash in &record.certificate_hashes {
                by_hash.entry(hash.to_ascii_lowercase()).or_default().push(index);
            }
            for domain in &record.managed_domains {
                let first = *by_domain.entry(domain.clone()).or_insert(index);
                let first = records.get(first).unwrap_or(record);
                if !same_text(&first.name, &record.name) {
                    return Err(DirectoryFault::DomainClaimedTwice {
                        domain: domain.clone(),
                        first: first.name.clone(),
                        second: record.name.clone(),
                    });
                }
            }
        }
        let services = records.iter().map(|record| record.service_mailbox.domain().clone());
        let of_services = services.collect();
        Ok(Self { location: None, records, by_hash, by_domain, of_services })
    }

    /// Reads the LDIF file of one provider or of the whole directory, signature already removed
    /// and verified.
    pub fn from_ldif(octets: &[u8]) -> Result<Self, DirectoryFault> {
        let (location, records) = Self::records_of_ldif(octets)?;
        Ok(Self { location, ..Self::new(records)? })
    }

    /// Where the whole directory is published, and the records of such a file, whoever claims
    /// which domain.
    pub(crate) fn records_of_ldif(
        octets: &[u8],
    ) -> Result<(Option<String>, Vec<ProviderRecord>), DirectoryFault> {
        let mut location = None;
        let mut records = Vec::new();
        for mut record in read_ldif(octets)? {
            record.rename(|name| {
                let oid = name.strip_prefix("oid.").unwrap_or(name);
                ATTRIBUTES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name)
            });
            let is_provider =
                record.values("objectclass").any(|class| class.eq_ignore_ascii_case(b"provider"))
                    || record.values("providername").next().is_some();
            if is_provider {
                records.push(ProviderRecord::read(&record)?);
            } else {
                location = record.text("ldiflocationurl").or(location);
            }
        }
        Ok((location, records))
    }

    /// Writes the records as one LDIF file, with the base entry first when `location`, the
    /// address of the whole directory, is known.
    pub fn to_ldif(&self) -> Vec<u8> {
        let mut octets = b"version: 1\n\n".to_vec();
        if let Some(location) = &self.location {
            for (name, value) in [
                ("dn", BASE),
                ("objectClass", "top"),
                ("objectClass", "organization"),
                ("objectClass", "LDIFLocationURLObject"),
                ("o", "postacert"),
                ("LDIFLocationURL", location),
            ] {
                write_attribute(&mut octets, name, value.as_bytes(), false);
            }
            octets.push(b'\n');
        }
        for record in &self.records {
            record.write(&mut octets);
        }
        octets
    }

    /// The same directory, published at `location`.
    #[must_use]
    pub fn published_at(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Where the whole directory is published.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// All records, in the order of the file.
    pub fn records(&self) -> &[ProviderRecord] {
        &self.records
    }

    /// How many domains are certified.
    pub fn domain_count(&self) -> usize {
        self.by_domain.len()
    }

    /// How many providers there are, environments of one not counted.
    pub fn provider_count(&self) -> usize {
        let names = self.records.iter().map(|record| record.name.trim().to_lowercase());
        names.collect::<HashSet<_>>().len()
    }

    /// The records that list the certificate with this hash, in either case.
    pub fn records_of_hash(&self, hash: &str) -> impl Iterator<Item = &ProviderRecord> {
        let found = self.by_hash.get(&hash.to_ascii_lowercase());
        found.into_iter().flatten().filter_map(|index| self.records.get(*index))
    }

    /// The record to which the certificate `der` belongs: the digest finds it, the whole
    /// certificate decides.
    pub fn provider_of_certificate(&self, der: &[u8]) -> Option<&ProviderRecord> {
        let hash = sha1_hex(der);
        let found = self.by_hash.get(&hash)?;
        found
            .iter()
            .filter_map(|index| self.records.get(*index))
            .find(|record| record.has_certificate(&hash, der))
    }

    /// Whether mail to `domain` goes to a provider: one manages it, or has its service mailbox there.
    pub fn is_a_providers(&self, domain: &Domain) -> bool {
        self.by_domain.contains_key(domain) || self.of_services.contains(domain)
    }

    /// The record that manages `domain`.
    pub fn provider_of_domain(&self, domain: &Domain) -> Option<&ProviderRecord> {
        self.records.get(*self.by_domain.get(domain)?)
    }
}

impl CertifiedDomains for Directory {
    fn is_certified(&self, domain: &Domain) -> bool {
        self.by_domain.contains_key(domain)
    }
}

/// `caseIgnoreMatch`, as far as names of providers need it.
fn same_text(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// Escapes an attribute value of a distinguished name (RFC 4514 §2.4).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (index == 0 && matches!(character, ' ' | '#'))
            || (index == last && character == ' ');
        if special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// What a distinguished name says of `attribute` (lower case), by name or OID (RFC 4514 §3).
fn named(dn: &str, attribute: &str) -> Option<String> {
    let (mut parts, mut part, mut octets) = (Vec::new(), Vec::new(), dn.as_bytes().iter());
    while let Some(octet) = octets.next() {
        match *octet {
            b',' | b';' | b'+' => parts.push(std::mem::take(&mut part)),
            b'\\' => {
                let rest = octets.as_slice();
                let pair = rest.get(..2).and_then(|pair| hex::decode(pair).ok());
                let escaped = match pair.as_deref() {
                    Some([octet]) => octets.nth(1).map(|_| *octet),
                    _ => octets.next().copied(),
                };
                part.extend(escaped);
            }
            other => part.push(other),
        }
    }
    parts.push(part);
    parts.iter().find_map(|part| {
        let (name, value) = str::from_utf8(part).ok()?.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_prefix("oid.").unwrap_or(&name);
        let known = ATTRIBUTES.iter().find(|(oid, _)| *oid == name).map_or(name, |(_, name)| name);
        (known == attribute).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests;

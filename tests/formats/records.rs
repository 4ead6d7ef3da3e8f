//! Which records need golden octets, found in the source: every Protocol Buffers message with every
//! field of it, and every family of the catalog.
//!
//! Not here: that the octets are read and written as they stand (the crates' own tests, `engine`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use storage::store::Store;

/// Package and where its source is.
const PACKAGES: [(&str, &str); 6] = [
    ("ceralacca-trust", "trust/src"),
    ("ceralacca-storage", "storage/src"),
    ("ceralacca-snapshots", "snapshots/src"),
    ("ceralacca-protocols", "protocols/src"),
    ("ceralacca-conservation", "conservation/src"),
    ("ceralacca", "src"),
];

/// Fields that no program has written yet: how a recipe is sealed, where only 0 is in use.
const RESERVED: [(&str, u64); 1] = [("message::MessageFields", 4)];

/// A field as the source declares it.
#[derive(Debug)]
struct Field {
    wire: u64,
    /// The struct that it holds, when it is a message.
    message: Option<String>,
}

/// The fields of one message, by their numbers.
type Fields = BTreeMap<u64, Field>;
/// The messages of a package, by file and name.
type Messages = BTreeMap<String, Fields>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        match entry.path() {
            path if path.is_dir() => sources(&path, found),
            path if path.extension().is_some_and(|ending| ending == "rs") => found.push(path),
            _ => {}
        }
    }
}

/// How a field of a declared type is written: 0 varint, 1 eight octets, 2 length and octets.
fn wire(attribute: &str, declared: &str) -> u64 {
    let kind: String = attribute.chars().take_while(char::is_ascii_alphanumeric).collect();
    match kind.as_str() {
        "string" | "bytes" | "message" => 2,
        // Repeated numbers are packed.
        "uint32" | "uint64" | "int32" | "int64" | "sint32" | "sint64" | "bool" | "enumeration"
            if declared.starts_with("Vec<") =>
        {
            2
        }
        "uint32" | "uint64" | "int32" | "int64" | "sint32" | "sint64" | "bool" | "enumeration" => 0,
        "fixed64" | "sfixed64" | "double" => 1,
        other => panic!("{other} is a kind of field that nobody had before: {attribute}"),
    }
}

/// The messages that one file declares.
fn messages(path: &Path, text: &str, found: &mut Messages) {
    let file = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
    let outside = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let derives = |line: &str| {
        let list = line.strip_prefix("#[derive(").and_then(|list| list.strip_suffix(")]"));
        list.is_some_and(|list| {
            list.split(", ").any(|of| of == "Message" || of == "prost::Message")
        })
    };
    let mut lines = outside.lines();
    while let Some(line) = lines.next() {
        if !derives(line) {
            continue;
        }
        let head = lines.find(|line| line.contains("struct ")).expect("a struct");
        let name = head.split("struct ").nth(1).and_then(|rest| rest.split(' ').next());
        let own = format!("{file}::{}", name.expect("a name"));
        let mut fields = Fields::new();
        let mut attribute = None;
        for line in lines.by_ref().map(str::trim).take_while(|line| *line != "}") {
            if let Some(inner) = line.strip_prefix("#[prost(") {
                attribute = Some(inner.to_owned());
            } else if let (Some((_, declared)), false) =
                (line.split_once(": "), line.starts_with('/'))
            {
                let attribute = attribute.take().expect("an attribute before each field");
                let tag = attribute.split("tag = \"").nth(1).and_then(|tag| tag.split('"').next());
                let tag = tag.and_then(|tag| tag.parse().ok()).expect("a number");
                let inner = declared.trim_end_matches([',', '>']).rsplit('<').next();
                let message = attribute.starts_with("message").then(|| {
                    inner.filter(|inner| *inner != "Self").map_or(own.clone(), str::to_owned)
                });
                fields.insert(tag, Field { wire: wire(&attribute, declared), message });
            }
        }
        assert!(found.insert(own.clone(), fields).is_none(), "{own} is there twice");
    }
}

/// Field number, wire type and octets (of a field with a length) of a message, one after the other.
fn fields_of(mut octets: &[u8]) -> Option<Vec<(u64, u64, Vec<u8>)>> {
    let mut fields = Vec::new();
    while !octets.is_empty() {
        let head = varint(&mut octets)?;
        let inner = match head & 7 {
            0 => varint(&mut octets).map(|_| Vec::new())?,
            1 => octets.split_off(..8).map(|_| Vec::new())?,
            2 => {
                let length = usize::try_from(varint(&mut octets)?).ok()?;
                octets.split_off(..length)?.to_vec()
            }
            _ => return None,
        };
        fields.push((head >> 3, head & 7, inner));
    }
    Some(fields)
}

fn varint(octets: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let octet = octets.split_off_first()?;
        number |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Notes which fields of `name`, and of the messages in it, `octets` have.
fn walk(
    messages: &Messages,
    name: &str,
    octets: &[u8],
    seen: &mut BTreeMap<String, BTreeSet<u64>>,
) {
    let declared = messages.get(name).unwrap_or_else(|| panic!("{name} is in no source file"));
    let fields = fields_of(octets).unwrap_or_else(|| panic!("{name}: its octets are no message"));
    for (tag, wire, inner) in fields {
        let field = declared.get(&tag);
        let field = field.unwrap_or_else(|| panic!("{name} has lost its field {tag}"));
        assert_eq!(field.wire, wire, "{name}: field {tag} is of another type");
        seen.entry(name.to_owned()).or_default().insert(tag);
        if let Some(message) = &field.message {
            let file = name.split("::").next().expect("a file");
            let here = format!("{file}::{message}");
            let message = if messages.contains_key(&here) {
                here
            } else {
                let ending = format!("::{}", message.rsplit("::").next().expect("a name"));
                let mut others = messages.keys().filter(|name| name.ends_with(&ending));
                others.next().unwrap_or_else(|| panic!("{message} is declared")).clone()
            };
            walk(messages, &message, &inner, seen);
        }
    }
}

fn octets(hex: &str) -> Vec<u8> {
    hex::decode(hex.trim_start_matches('-')).expect("hexadecimal digits")
}

/// Name, struct, key and octets of every line of a package; none when it has no golden octets.
fn lines(package: &str) -> Vec<[String; 4]> {
    let file = root().join("tests/formats/records/v1").join(format!("{package}.txt"));
    let text = fs::read_to_string(file).unwrap_or_default();
    let parts = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    text.lines().map(|line| parts(line).try_into().expect("four parts")).collect()
}

#[test]
fn every_field_of_every_record_has_golden_octets() {
    let (mut missing, mut count) = (Vec::new(), 0);
    for (package, folder) in PACKAGES {
        let (mut files, mut declared) = (Vec::new(), Messages::new());
        sources(&root().join(folder), &mut files);
        for file in files {
            messages(&file, &fs::read_to_string(&file).expect("a text"), &mut declared);
        }
        count += declared.len();
        let mut seen = BTreeMap::new();
        for [name, structure, _, octets_of] in lines(package) {
            if structure != "-" {
                let fields = octets_of.rsplit('.').next().expect("fields");
                walk(&declared, &structure, &octets(fields), &mut seen);
                // What stands in a record of its own, as the recipe in a message, has a line too.
                assert!(!seen.is_empty(), "{name}");
            }
        }
        for (name, fields) in declared {
            let seen = seen.remove(&name).unwrap_or_default();
            let none = fields
                .into_keys()
                .filter(|tag| !seen.contains(tag) && !RESERVED.contains(&(name.as_str(), *tag)));
            missing.extend(none.map(|tag| format!("{package} {name} {tag}")));
        }
    }
    assert!(count > 60, "{count} records were found in the source");
    assert!(missing.is_empty(), "fields without golden octets: {missing:#?}");
}

#[test]
fn every_family_of_the_catalog_has_golden_octets() {
    let mut named: BTreeSet<String> = BTreeSet::new();
    for (package, _) in PACKAGES {
        named.extend(lines(package).into_iter().map(|[name, ..]| name));
    }
    let pages = root().join("snapshots/tests/formats/v1/account.txt");
    let pages = fs::read_to_string(pages).expect("pages of snapshots");
    named.extend(pages.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
    let has = |family: &str| named.iter().any(|name| name.split('/').next() == Some(family));
    let families = Store::families(&ceralacca::serve::store::families());
    let families = families.iter().map(|family| family.0).chain(["numbered_sequences"]);
    let missing: Vec<&str> = families.filter(|family| !has(family)).collect();
    assert!(missing.is_empty(), "families without golden octets: {missing:?}");
}

#[test]
fn a_test_holds_every_line_against_the_program() {
    let mut names = BTreeSet::new();
    for folder in PACKAGES.map(|(_, folder)| folder).into_iter().chain(["tests/formats"]) {
        let mut files = Vec::new();
        sources(&root().join(folder), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).expect("a text");
            let calls = text.split("Golden::of(\"").skip(1);
            names.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
        }
    }
    for (package, _) in PACKAGES {
        for [name, ..] in lines(package) {
            let base = name.split('/').next().expect("a name");
            assert!(names.contains(base), "{package}: nothing is held against {name}");
        }
    }
}

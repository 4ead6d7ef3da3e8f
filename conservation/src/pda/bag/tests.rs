//! Bags written here, checked here and by `tar` and `sha256sum`.

use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::{
    golden::Golden,
    pda::check::{CheckError, check},
    pdv::{MessageKind, Pdv},
    rdv::{PackageRules, conclude, validate},
};

fn accepted(contents: &[(String, Vec<u8>)]) -> AcceptedPdv {
    let messages: Vec<PackagedMessage> = contents
        .iter()
        .map(|(name, octets)| PackagedMessage {
            name: PayloadPath::new(name).expect("a path"),
            kind: MessageKind::Message,
            size: octets.len() as u64,
            digest: Sha256Digest::of(octets),
        })
        .collect();
    let pdv = Pdv {
        id: PackageId::new("pdv-7").expect("an identifier"),
        producer: "Ordine degli esempi, unità di Forlì".to_owned(),
        agreement: "A-1".to_owned(),
        closed: UnixMillis(0),
        messages: messages.clone(),
    };
    let rules = PackageRules::default();
    let checks = validate(&pdv, &messages, &rules);
    let id = PackageId::new("rdv-7").expect("an identifier");
    conclude(id, pdv, checks, &rules, 0, UnixMillis(1)).expect("accepted")
}

fn info() -> BagInfo {
    BagInfo {
        source_organization: "Gestore Uno".to_owned(),
        software_agent: "Ceralacca 0.1.0".to_owned(),
        group_identifier: Some("serie-2026".to_owned()),
        bagged: UnixMillis(1_795_000_000_000),
    }
}

fn write(contents: &[(String, Vec<u8>)]) -> Result<(Vec<u8>, WrittenBag), BagError> {
    let package = PackageId::new("pda-0007").expect("an identifier");
    let bag = Bag::new(package, &accepted(contents), &info())?;
    let mut out = Vec::new();
    let written = bag.write(|message| Ok(octets_of(contents, message)), &mut out)?;
    Ok((out, written))
}

fn octets_of<'a>(contents: &'a [(String, Vec<u8>)], message: &PackagedMessage) -> &'a [u8] {
    let found = contents.iter().find(|(name, _)| name == message.name.as_str());
    &found.expect("declared").1
}

fn samples() -> Vec<(String, Vec<u8>)> {
    let deep = format!("{}/{}", "d".repeat(35), "m".repeat(60));
    vec![
        ("inbox/2.eml".to_owned(), b"Subject: due\r\n\r\nPerch\xe9\r\n".to_vec()),
        ("inbox/1.eml".to_owned(), vec![b'x'; 3 * 512]),
        (deep, Vec::new()),
    ]
}

#[test]
fn public_tools_unpack_and_verify_the_bag() {
    let (tar, written) = write(&samples()).expect("written");
    assert_eq!(written.octets, tar.len() as u64);
    assert_eq!(written.digest, Sha256Digest::of(&tar));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pda.tar"), &tar).expect("written");
    let run = |command: &str| {
        let output = Command::new("sh").arg("-ec").arg(command).current_dir(folder.path()).output();
        let output = output.expect("sh runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    run("tar -xf pda.tar");
    run("cd pda-0007 && sha256sum -c manifest-sha256.txt && sha256sum -c tagmanifest-sha256.txt");
    let bag_info = run("cat pda-0007/bag-info.txt");
    assert_eq!(
        bag_info,
        "Source-Organization: Gestore Uno\nExternal-Identifier: pda-0007\n\
         External-Description: Ordine degli esempi, unità di Forlì\nBagging-Date: 2026-11-18\n\
         Payload-Oxum: 1560.3\nBag-Group-Identifier: serie-2026\n\
         Internal-Sender-Identifier: pdv-7\nBag-Software-Agent: Ceralacca 0.1.0\n"
    );
    assert_eq!(run("cat pda-0007/bagit.txt"), BAGIT_TXT);
    assert_eq!(run("cat pda-0007/data/inbox/1.eml").len(), 1536);
    let order: Vec<String> = run("tar -tf pda.tar").lines().map(str::to_owned).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn one_package_gives_one_file_whatever_the_order_of_its_messages() {
    let (tar, _) = write(&samples()).expect("written");
    let mut reversed = samples();
    reversed.reverse();
    assert_eq!(write(&reversed).expect("written").0, tar);
}

#[test]
fn octets_that_were_not_taken_in_charge_are_never_packed() {
    let contents = samples();
    let package = PackageId::new("pda-0007").expect("an identifier");
    let bag = Bag::new(package, &accepted(&contents), &info()).expect("a plan");
    for change in [
        |octets: &mut Vec<u8>| octets.push(b'x'),
        |octets: &mut Vec<u8>| octets.truncate(7),
        |octets: &mut Vec<u8>| octets[3] ^= 1,
    ] {
        let open = |message: &PackagedMessage| {
            let mut octets = octets_of(&contents, message).to_vec();
            if message.name.as_str() == "inbox/1.eml" {
                change(&mut octets);
            }
            Ok(io::Cursor::new(octets))
        };
        let refused = bag.write(open, io::sink());
        assert!(matches!(refused, Err(BagError::WrongOctets { .. })), "{refused:?}");
    }
    let failing = bag.write(|_| Err::<io::Empty, _>(io::ErrorKind::NotFound.into()), io::sink());
    assert!(matches!(failing, Err(BagError::Io { operation: "read", .. })));
}

#[test]
fn texts_that_would_break_bag_info_are_refused() {
    for wrong in ["", " ", "two\nlines", "a\u{7}b"] {
        let info = BagInfo { source_organization: wrong.to_owned(), ..info() };
        let package = PackageId::new("pda-0007").expect("an identifier");
        let refused = Bag::new(package, &accepted(&samples()), &info);
        assert!(matches!(refused, Err(BagError::InvalidInfo { .. })), "{wrong:?}");
    }
}

#[test]
fn a_changed_octet_of_the_contents_is_found() {
    let (tar, _) = write(&samples()).expect("written");
    let good = check(&tar[..]).expect("valid");
    assert_eq!((good.name.as_str(), good.payload.len()), ("pda-0007", 3));
    assert_eq!(good.info.len(), 8);
    let mut found = 0;
    for at in 0..tar.len() {
        let mut changed = tar.clone();
        changed[at] ^= 1;
        match check(&changed[..]) {
            Err(_) => found += 1,
            // Padding, and header fields that a reader does not need, say nothing.
            Ok(same) => assert_eq!(same, good, "octet {at}"),
        }
    }
    assert!(found > 3_000, "{found}");
}

#[test]
fn a_file_too_many_or_too_few_or_outside_is_found() {
    let (tar, _) = write(&samples()).expect("written");
    let rebuilt = |edit: &dyn Fn(&str) -> Option<String>| {
        let mut archive = tar::Archive::new(&tar[..]);
        let mut out = Builder::new(Vec::new());
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            let Some(path) = edit(&path) else { continue };
            let mut header = entry.header().clone();
            header.as_old_mut().name = [0; 100];
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            out.append(&header, &mut entry).expect("appended");
        }
        check(&out.into_inner().expect("an archive")[..])
    };
    let keep = |path: &str| Some(path.chars().take(100).collect::<String>());
    let edits: [(&str, Option<&str>); 7] = [
        ("pda-0007/data/inbox/1.eml", None),
        ("pda-0007/data/inbox/1.eml", Some("pda-0007/data/inbox/3.eml")),
        ("pda-0007/data/inbox/1.eml", Some("pda-0007/data/inbox/2.eml")),
        ("pda-0007/data/inbox/1.eml", Some("pda-0007/data/../1.eml")),
        ("pda-0007/data/inbox/1.eml", Some("altro/data/inbox/1.eml")),
        ("pda-0007/bagit.txt", None),
        ("pda-0007/tagmanifest-sha256.txt", None),
    ];
    for (from, to) in edits {
        let edit = |path: &str| {
            if path == from { to.map(str::to_owned) } else { keep(path) }
        };
        let outcome = rebuilt(&edit);
        assert!(matches!(outcome, Err(CheckError::Invalid { .. })), "{from} {to:?} {outcome:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_written_bag_is_valid_and_holds_its_messages(
        contents in proptest::collection::btree_map(
            "[a-z0-9]{1,20}/[a-z0-9]{1,20}/[a-z0-9][a-z0-9._-]{0,20}",
            proptest::collection::vec(any::<u8>(), 0..2000),
            1..12,
        ),
    ) {
        let contents: Vec<(String, Vec<u8>)> = contents.into_iter().collect();
        let (tar, _) = write(&contents).expect("written");
        let checked = check(&tar[..]).expect("valid");
        prop_assert_eq!(checked.payload.len(), contents.len());
        for (name, octets) in contents {
            let expected = (octets.len() as u64, Sha256Digest::of(&octets));
            prop_assert_eq!(checked.payload.get(&format!("data/{name}")), Some(&expected));
        }
    }

    #[test]
    fn hostile_archives_are_refused_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(check(&octets[..]).is_err());
    }
}

#[test]
fn packages_stay_as_they_are() {
    let contents = samples();
    let (tar, written) = write(&contents).expect("written");
    let (sample, digest) = (check(&tar[..]).expect("a bag"), written.digest);
    let golden = Golden::of("pda");
    golden.holds(&sample, |_| &tar, |octets| check(octets).expect("a bag"));
    Golden::of("pda.identity").is(digest.0);
    Golden::of("pdv.content").is(accepted(&contents).pdv().content_digest().0);
}

use proptest::prelude::*;
use release_manifest::{Error, JournalEntry, Manifest, Torn, read_journal};

use crate::samples::{self, LIBRARY, any_history, key};

fn lines(journal: &[JournalEntry]) -> Vec<u8> {
    journal.iter().flat_map(JournalEntry::to_line).collect()
}

#[test]
fn a_journal_reads_well() {
    let (_, journal) = samples::release();
    insta::assert_snapshot!("journal", String::from_utf8(lines(&journal)).unwrap());
}

#[test]
fn a_line_that_is_no_entry_is_named() {
    let (_, journal) = samples::release();
    let text = String::from_utf8(lines(&journal)).unwrap();
    for (number, good) in text.lines().enumerate() {
        for bad in [
            String::new(),
            "{}".to_owned(),
            format!("{good}{good}"),
            good[..good.len() - 1].to_owned(),
            good.replacen(r#""sequence""#, r#""colour":1,"sequence""#, 1),
            good.replacen(r#""type""#, r#""colour":1,"type""#, 1),
            good.replacen(r#""event":{"type":""#, r#""event":{"type":"un"#, 1),
        ] {
            let damaged = text.replacen(good, &bad, 1);
            assert_ne!(text, damaged);
            match read_journal(damaged.as_bytes()) {
                Err(Error::JournalLine { number: found, .. }) => assert_eq!(found, number + 1),
                other => panic!("{bad}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_newer_line_is_told_by_its_version() {
    let line = br#"{"schema_version":7,"colour":"green"}
"#;
    let Err(Error::JournalLine { number: 1, source }) = read_journal(line) else {
        panic!("accepted");
    };
    insta::assert_snapshot!(
        source,
        @"expected a journal of schema version 1, which this tool supports, found version 7"
    );
}

#[test]
fn an_empty_journal_is_one() {
    assert_eq!(read_journal(b"").unwrap(), (vec![], Torn { bytes: 0 }));
}

/// `kill -9` at any byte: what was written whole is there, the rest is reported, and the manifest
/// is that of the entries which are there.
#[test]
fn a_journal_may_end_anywhere() {
    let (finished, journal) = samples::release();
    let bytes = lines(&journal);
    for end in 0..=bytes.len() {
        let (entries, torn) = read_journal(&bytes[..end]).unwrap();
        assert_eq!(entries, journal[..entries.len()]);
        assert_eq!(lines(&entries).len() + torn.bytes, end);
        assert_eq!(torn.is_torn(), end > 0 && bytes[end - 1] != b'\n');
    }
    for count in 0..=journal.len() {
        let (entries, _) = read_journal(&lines(&journal[..count])).unwrap();
        let mut manifest = samples::empty(&samples::plan());
        manifest.replay(&entries).unwrap();
        assert_eq!(manifest == finished, count == journal.len());
    }
}

/// A run may be killed after the manifest is written and before the journal is emptied.
#[test]
fn entries_count_once() {
    let (finished, journal) = samples::release();
    for contained in 0..=journal.len() {
        let mut manifest = samples::empty(&samples::plan());
        manifest.replay(&journal[..contained]).unwrap();
        let mut manifest = Manifest::from_json(&manifest.to_json()).unwrap();
        manifest.replay(&journal).unwrap();
        assert_eq!(manifest, finished);
        manifest.replay(&journal).unwrap();
        assert_eq!(manifest, finished);
    }
}

/// The same, when the manifest that was written is already that of the next plan.
#[test]
fn entries_of_the_plan_before_count_once() {
    let (old, journal) = samples::release();
    let mut plan = samples::plan();
    plan.timestamp += 1;
    let mut next = samples::empty(&plan);
    next.carry_over(&old);
    let before = next.clone();
    next.replay(&journal).unwrap();
    assert_eq!(next, before);
    let entry = next.entry(
        samples::moment(0),
        key(samples::PROGRAM),
        samples::built(samples::PROGRAM),
    );
    next.apply(&entry).unwrap();
}

#[test]
fn a_hole_in_the_journal_is_refused() {
    let (_, mut journal) = samples::release();
    journal.remove(3);
    let mut manifest = samples::empty(&samples::plan());
    let error = manifest.replay(&journal).unwrap_err();
    insta::assert_snapshot!(
        error,
        @"expected journal entry 4, found 5 (of `linux-64/libgreet-1.0.0-h123_0.conda`)"
    );
    assert!(manifest.package(&key(LIBRARY)).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn compaction_at_any_time_gives_the_same_manifest(
        (plan, events) in any_history(), at in any::<prop::sample::Index>(),
    ) {
        let (manifest, journal) = samples::live(&plan, events);
        let (read, torn) = read_journal(&lines(&journal)).unwrap();
        prop_assert_eq!(&read, &journal);
        prop_assert!(!torn.is_torn());

        let mut compacted = samples::empty(&plan);
        compacted.replay(&read[..at.index(read.len() + 1)]).unwrap();
        let mut compacted = Manifest::from_json(&compacted.to_json()).unwrap();
        compacted.replay(&read).unwrap();
        prop_assert_eq!(compacted, manifest);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok((entries, torn)) = read_journal(&bytes) {
            prop_assert!(entries.is_empty());
            prop_assert_eq!(torn.bytes, bytes.len());
        }
    }

    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..4)) {
        let mut journal = lines(&samples::release().1);
        let at = at.index(journal.len());
        let end = (at + bytes.len()).min(journal.len());
        journal.splice(at..end, bytes);
        if let Ok((entries, _)) = read_journal(&journal) {
            drop(samples::empty(&samples::plan()).replay(&entries));
        }
    }
}

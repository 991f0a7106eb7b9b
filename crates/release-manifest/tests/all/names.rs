use std::path::Path;

use cep27::Subdir;
use proptest::prelude::*;
use release_manifest::{Digest, PackageKey, RelativePath};

#[test]
fn paths_stay_beneath_their_folder() {
    for bad in [
        "",
        ".",
        "..",
        "/",
        "/etc/passwd",
        "a/../b",
        "../a",
        "a/..",
        "a//b",
        "a/./b",
        "a/",
        "C:/a",
        "c:a",
        "a\\b",
        "..\\a",
        "\\\\server\\share",
        "a\0b",
        "a\nb",
        "a\u{1b}[31m",
        "a\u{85}b",
    ] {
        let error = bad.parse::<RelativePath>().unwrap_err().to_string();
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    assert!("a".repeat(4096).parse::<RelativePath>().is_ok());
    assert!("a".repeat(4097).parse::<RelativePath>().is_err());
    let path: RelativePath = "packages/noarch/..a".parse().unwrap();
    assert_eq!(
        path.under(Path::new("/out")),
        Path::new("/out/packages/noarch/..a")
    );
}

#[test]
fn a_key_is_a_known_subdir_and_a_file_name() {
    let good: PackageKey = "noarch/a-1-0.conda".parse().unwrap();
    assert_eq!(
        good.under(Path::new("/channel")),
        Path::new("/channel/noarch/a-1-0.conda")
    );
    for bad in [
        "",
        "noarch",
        "noarch/",
        "/a-1-0.conda",
        "a-1-0.conda",
        "nowhere/a-1-0.conda",
        "noarch/a-1-0.zip",
        "noarch/../a-1-0.conda",
        "linux-64/noarch/a-1-0.conda",
        "noarch\\a-1-0.conda",
    ] {
        bad.parse::<PackageKey>().unwrap_err();
    }
    insta::assert_snapshot!(
        "nowhere/a-1-0.conda".parse::<PackageKey>().unwrap_err(),
        @"expected a package such as `linux-64/foo-1.0-0.conda`, found `nowhere/a-1-0.conda`: expected a known subdir such as `linux-64` or `noarch`, found `nowhere`"
    );
}

#[test]
fn a_digest_names_its_algorithm() {
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").to_string(), empty);
    assert_eq!(empty.parse::<Digest>().unwrap(), Digest::of(b""));
    for bad in [&empty[7..], &empty.to_uppercase(), &empty[..70], "sha512:"] {
        bad.parse::<Digest>().unwrap_err();
    }
}

proptest! {
    #[test]
    fn any_text_is_a_path_or_an_error(text in any::<String>()) {
        if let Ok(path) = text.parse::<RelativePath>() {
            let folder = Path::new("/out");
            let under = path.under(folder);
            prop_assert!(under.starts_with(folder) && under != folder);
            prop_assert!(under.components().all(|part| !matches!(
                part,
                std::path::Component::ParentDir | std::path::Component::CurDir
            )));
            prop_assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn keys_sort_as_their_text(
        a in prop::sample::select(Subdir::ALL), b in prop::sample::select(Subdir::ALL),
        x in "[a-z0-9.-]{1,3}[a-z]", y in "[a-z0-9.-]{1,3}[a-z]",
    ) {
        let keys = [format!("{a}/{x}-1-0.conda"), format!("{b}/{y}-1-0.conda")];
        if let [Ok(first), Ok(second)] = keys.each_ref().map(|key| key.parse::<PackageKey>()) {
            prop_assert_eq!(first.cmp(&second), keys[0].cmp(&keys[1]));
            prop_assert_eq!(first.to_string(), keys[0].as_str());
        }
    }
}

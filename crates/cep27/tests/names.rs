//! What file names, subdirs, digests and target channels look like.
#![allow(clippy::unwrap_used)]

use cep27::{FileName, Format, NameError, Sha256, Subdir, TargetChannel};

#[test]
fn a_file_name_is_read_from_its_end() {
    let file: FileName = "r-base-4.4.1-h570997c_0.tar.bz2".parse().unwrap();
    assert_eq!(file.name(), "r-base");
    assert_eq!(file.version(), "4.4.1");
    assert_eq!(file.build(), "h570997c_0");
    assert_eq!(file.format(), Format::TarBz2);
    assert_eq!(format!("{file:>33}"), "  r-base-4.4.1-h570997c_0.tar.bz2");
}

#[test]
fn file_names_of_real_channels_parse() {
    for text in [
        "_libgcc_mutex-0.1-conda_forge.tar.bz2",
        "_openmp_mutex-4.5-2_gnu.tar.bz2",
        "ca-certificates-2025.8.3-hbd8a1cb_0.conda",
        "jpeg-9e-h0b41bf4_3.conda",
        "mkl-service-2.4.0-py312h5eee18b_2.conda",
        "pytorch-2.5.1-cuda126_mkl_py312_h1234567_300.conda",
        "ruamel.yaml-0.18.6-py312h66e93f0_1.conda",
        "x264-1!164.3095-h166bdaf_2.tar.bz2",
        "zope.interface-7.2-py313h536fd9c_0.conda",
    ] {
        assert_eq!(text.parse::<FileName>().unwrap().as_str(), text);
    }
}

#[test]
fn no_file_name_leaves_its_folder() {
    for text in [
        "../a-1-0.conda",
        "a/../b-1-0.conda",
        "/a-1-0.conda",
        r"..\a-1-0.conda",
        r"C:\a-1-0.conda",
        "C:a-1-0.conda",
        "..-1-0.conda",
        "a-../../x-0.conda",
        "a-1-0/.conda",
        "a-1-0\0.conda",
    ] {
        assert!(text.parse::<FileName>().is_err(), "{text}");
    }
}

#[test]
fn a_file_name_says_what_is_wrong() {
    let message = |text: &str| text.parse::<FileName>().unwrap_err().to_string();
    insta::assert_snapshot!(message("a-1-0.zip"), @"expected a file name ending in `.conda` or `.tar.bz2`, found `a-1-0.zip`");
    insta::assert_snapshot!(message("a-1.conda"), @"expected a file name of the form `name-version-build`, found `a-1.conda`");
    insta::assert_snapshot!(message("a-1-.conda"), @"expected a build of 1 to 64 characters, found 0");
    insta::assert_snapshot!(message("a-1.0-0\u{202e}.conda"), @r"expected a build of letters, digits, `.`, `_` and `+`, found `0\u{202e}`");
    insta::assert_snapshot!(message(&"a".repeat(300)), @"expected a file name of at most 211 characters, found 300");
}

#[test]
fn a_subdir_is_a_known_platform() {
    assert_eq!("linux-64".parse::<Subdir>().unwrap().as_str(), "linux-64");
    assert!("noarch".parse::<Subdir>().unwrap().is_noarch());
    assert!(Subdir::ALL.is_sorted());
    for text in [
        "",
        "linux",
        "linux-65",
        "Linux-64",
        "linux-64/",
        "..",
        "unknown",
    ] {
        assert!(text.parse::<Subdir>().is_err(), "{text}");
    }
    insta::assert_snapshot!("Linux_64".parse::<Subdir>().unwrap_err(), @"expected a known subdir such as `linux-64` or `noarch`, found `Linux_64` (did you mean `linux-64`?)");
}

#[test]
fn a_digest_is_lower_case() {
    let text = "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b";
    let digest: Sha256 = text.parse().unwrap();
    assert_eq!((digest.as_bytes()[0], digest.as_bytes()[31]), (0x01, 0x6b));
    assert_eq!(format!("{digest:?}"), format!("Sha256({text})"));
    assert!(text.to_uppercase().parse::<Sha256>().is_err());
    assert!(text[1..].parse::<Sha256>().is_err());
    assert!(format!("{text}00").parse::<Sha256>().is_err());
}

#[test]
fn serde_checks_what_it_reads() {
    assert!(serde_json::from_str::<FileName>(r#""../a-1-0.conda""#).is_err());
    assert!(serde_json::from_str::<Subdir>(r#""..""#).is_err());
    assert!(serde_json::from_str::<Sha256>(r#""0""#).is_err());
    assert!(serde_json::from_str::<TargetChannel>(r#""https://a/b/""#).is_err());
    // Read from text that does not outlive it.
    let subdir: Subdir = serde_json::from_str(&format!("{:?}", "osx-arm64")).unwrap();
    assert_eq!(serde_json::to_string(&subdir).unwrap(), r#""osx-arm64""#);
}

#[test]
fn a_channel_is_one_that_everybody_can_read() {
    for text in [
        "https://prefix.dev/my-channel",
        "https://conda.anaconda.org/conda-forge/label/dev",
        "http://localhost:8080/channel",
        "https://rehearsal.invalid/channel",
        "https://prefix.dev",
        "https://[::1]:8080/t",
        "https://prefix.dev/tt/c",
    ] {
        assert_eq!(text.parse::<TargetChannel>().unwrap().as_str(), text);
    }
}

#[test]
fn a_channel_that_should_not_be_published_is_refused_by_kind() {
    let refused = |text: &str| text.parse::<TargetChannel>().unwrap_err();
    let carries = |text: &str| match refused(text) {
        NameError::ChannelCarries { found } => found,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(carries("https://me:secret@prefix.dev/c"), "credentials");
    assert_eq!(carries("https://secret@prefix.dev/c"), "credentials");
    assert_eq!(carries("https://:secret@prefix.dev/c"), "credentials");
    assert_eq!(carries("https://prefix.dev/t/secret/c"), "a token (`/t/…`)");
    assert_eq!(
        carries("https://prefix.dev/get/T/secret"),
        "a token (`/t/…`)"
    );
    assert_eq!(
        carries("https://prefix.dev/c?token=secret"),
        "a query (`?…`)"
    );
    assert_eq!(carries("https://prefix.dev/c?"), "a query (`?…`)");
    assert_eq!(carries("https://prefix.dev/c#secret"), "a fragment (`#…`)");

    for text in [
        "file:///srv/c",
        "s3://bucket/c",
        "oci://host/c",
        "ftp://host/c",
    ] {
        assert!(
            matches!(refused(text), NameError::ChannelScheme { .. }),
            "{text}"
        );
    }
    for text in [
        "",
        "conda-forge",
        "//prefix.dev/c",
        "https://",
        "https://a b/c",
    ] {
        assert!(
            matches!(refused(text), NameError::ChannelUrl { .. }),
            "{text}"
        );
    }
    for text in [
        "https://prefix.dev/c/",
        "https://prefix.dev/",
        "https://prefix.dev/c//",
    ] {
        assert!(
            matches!(refused(text), NameError::ChannelSlash { .. }),
            "{text}"
        );
    }
    // Each reads as https://prefix.dev/c to a URL parser.
    for text in [
        "HTTPS://prefix.dev/c",
        "https://Prefix.dev/c",
        "https://prefix.dev:443/c",
        "https://@prefix.dev/c",
        "https:prefix.dev/c",
        "https:///prefix.dev/c",
        r"https:\\prefix.dev\c",
        " https://prefix.dev/c",
        "https://prefix.dev/c\n",
        "https://prefix.dev/\tc",
        "https://prefix.dev/x/../c",
        "https://prefix.dev/./c",
        "https://%70refix.dev/c",
    ] {
        let expected = "https://prefix.dev/c".to_owned();
        assert_eq!(refused(text), NameError::ChannelForm { expected }, "{text}");
    }
}

#[test]
fn a_refused_channel_keeps_its_secret() {
    for text in [
        "https://me:secret@prefix.dev/c",
        "https://me:secret@pre fix.dev/c",
        "https://me:secret@prefix.dev:99999/c",
        "ftp://me:secret@prefix.dev/c",
        "https://prefix.dev/t/secret/c/",
        "HTTPS://prefix.dev/t/secret/c",
        "https://prefix.dev/c/?token=secret",
    ] {
        let error = text.parse::<TargetChannel>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

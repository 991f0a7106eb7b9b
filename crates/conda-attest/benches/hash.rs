//! Hashing a package of two gigabytes against `openssl dgst`.
//!
//! `cargo bench -p conda-attest --bench hash` prints the table in docs/performance.md. It needs four
//! gigabytes in the folder for temporary files, and `openssl`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![expect(clippy::print_stdout, reason = "a benchmark says what it has measured")]

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use conda_attest::PackageFile;
use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};
use rattler_conda_types::compression_level::CompressionLevel;
use rattler_package_streaming::write::write_conda_package;

const SIZE: u64 = 2 << 30;
/// Both take turns, and the best of so many counts: the file is in the page cache from the second.
const ROUNDS: usize = 5;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = large_package(folder.path());
    let size = std::fs::metadata(&path).unwrap().len();
    let mut ours = Duration::MAX;
    let mut openssl = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let package = PackageFile::read(&path).unwrap();
        ours = ours.min(start.elapsed());
        let start = Instant::now();
        let output = Command::new("openssl")
            .args(["dgst", "-sha256", "-r"])
            .arg(&path)
            .output()
            .unwrap();
        openssl = openssl.min(start.elapsed());
        let digest = String::from_utf8(output.stdout).unwrap();
        assert!(digest.starts_with(&package.sha256.to_string()), "{digest}");
    }
    #[expect(clippy::cast_precision_loss, reason = "it is shown with two decimals")]
    let rate = |taken: Duration| size as f64 / taken.as_secs_f64() / 1e9;
    println!("a package of {size} bytes, read and hashed, one core");
    println!(
        "openssl dgst     {openssl:>8.2?} {:>6.2} GB/s",
        rate(openssl)
    );
    println!("conda-attest     {ours:>8.2?} {:>6.2} GB/s", rate(ours));
}

/// A real package with one file of noise.
fn large_package(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    std::fs::create_dir_all(root.join("info")).unwrap();
    let index = r#"{"name":"noise","version":"1","build":"0","build_number":0,"subdir":"noarch","depends":[]}"#;
    std::fs::write(root.join("info/index.json"), index).unwrap();
    let mut noise = BufWriter::new(File::create(root.join("noise")).unwrap());
    let mut random = SmallRng::seed_from_u64(1);
    let mut block = vec![0; 1 << 20];
    for _ in 0..SIZE >> 20 {
        random.fill_bytes(&mut block);
        noise.write_all(&block).unwrap();
    }
    noise.into_inner().unwrap();
    let members = ["info/index.json", "noise"].map(|member| root.join(member));
    let path = folder.join("noise-1-0.conda");
    let out = File::create(&path).unwrap();
    let level = CompressionLevel::Numeric(1);
    write_conda_package(
        out,
        &root,
        &members,
        level,
        Some(1),
        "noise-1-0",
        None,
        None,
    )
    .unwrap();
    std::fs::remove_dir_all(root).unwrap();
    path
}

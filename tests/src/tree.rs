//! Generated trees of recipes, as large as wanted, for benchmarks and tests.

use std::fmt::Write as _;

use crate::workspace::Workspace;

/// Recipes of one project: they build upon each other, and upon what every project shares.
const PROJECT: usize = 50;
/// Recipes that every project builds upon.
const SHARED: usize = 20;
/// Every tenth recipe has several outputs.
const SEVERAL: usize = 10;

/// Writes `recipes` recipes of realistic size into a workspace: context, remote sources, requirements on each other without
/// cycles, scripts, tests and all that stands in `about`; a tenth of them with three outputs. Returns how many packages they make.
///
/// The same number gives the same tree.
pub fn write_tree(workspace: &Workspace, recipes: usize) -> usize {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut packages = 0;
    for number in 0..recipes {
        let name = name(number);
        let several = number % SEVERAL == SEVERAL - 1;
        let text = match several {
            true => three_outputs(&name, number, &mut random),
            false => one_output(&name, number, &mut random),
        };
        workspace.recipe(&name, &text);
        workspace.write(
            format!("recipes/{name}/build.sh"),
            "set -ex\ncmake -S . -B build ${CMAKE_ARGS} -DCMAKE_BUILD_TYPE=Release\ncmake --build build --target install\n",
        );
        packages += if several { 3 } else { 1 };
    }
    packages
}

fn name(number: usize) -> String {
    format!("package-{number:04}")
}

fn one_output(name: &str, number: usize, random: &mut Random) -> String {
    let requirements = requirements(number, random);
    format!(
        "{head}
package:
  name: ${{{{ name|lower }}}}
  version: ${{{{ version }}}}

{source}
build:
  number: 0
  script: build.sh
  skip:
    - win and not unix

{requirements}
{tests}
{about}",
        head = head(name, number),
        source = source(random),
        tests = tests(name),
        about = about(name),
    )
}

fn three_outputs(name: &str, number: usize, random: &mut Random) -> String {
    let mut text = format!(
        "{head}
recipe:
  name: ${{{{ name }}}}
  version: ${{{{ version }}}}

{source}
build:
  number: 0

outputs:",
        head = head(name, number),
        source = source(random),
    );
    for (output, pin) in [
        (name.to_owned(), ""),
        (
            format!("{name}-devel"),
            "\n        - ${{ pin_subpackage(name, exact=True) }}",
        ),
        (
            format!("{name}-tools"),
            "\n        - ${{ pin_subpackage(name, upper_bound='x.x') }}",
        ),
    ] {
        let indent = |text: String| text.replace('\n', "\n    ");
        let mut requirements = requirements(number, random);
        if !pin.is_empty() {
            requirements += &pin.replace("\n        ", "\n    ");
            requirements.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n  - package:\n      name: {output}\n    build:\n      script: build.sh\n    {}\n    {}\n    {}",
            indent(requirements),
            indent(tests(&output)),
            indent(about(&output)),
        );
    }
    text.push('\n');
    text
}

fn head(name: &str, number: usize) -> String {
    format!(
        "schema_version: 1

context:
  name: {name}
  version: \"{major}.{minor}.{patch}\"
  major: ${{{{ (version | split('.'))[0] }}}}
  minimum: \">=1.2,<3\"
",
        major = 1 + number % 3,
        minor = number % 17,
        patch = number % 7,
    )
}

fn source(random: &mut Random) -> String {
    let sha256: String = (0..8)
        .map(|_| format!("{:08x}", random.next() as u32))
        .collect();
    format!(
        "source:
  - url: https://example.com/releases/v${{{{ version }}}}/${{{{ name }}}}-${{{{ version }}}}.tar.gz
    sha256: {sha256}
    target_directory: src
"
    )
}

/// Requirements on recipes of lower numbers in the same project, and on shared ones.
fn requirements(number: usize, random: &mut Random) -> String {
    let project = number - number % PROJECT;
    let mut upon = |most: usize| {
        let mut names = Vec::new();
        for _ in 0..random.below(most + 1) {
            let within = number - project;
            let other = match random.below(3) {
                0 => random.below(SHARED),
                _ if within > 0 => project + random.below(within),
                _ => continue,
            };
            if other < number {
                names.push(name(other));
            }
        }
        names.sort();
        names.dedup();
        names
    };
    let (host, run) = (upon(3), upon(3));
    let list = |names: &[String], more: &[&str]| -> String {
        let names = names.iter().map(String::as_str).chain(more.iter().copied());
        names.map(|name| format!("\n    - {name}")).collect()
    };
    format!(
        "requirements:
  build:{}
  host:{}
  run:{}",
        list(
            &[],
            &[
                "cmake >=3.20",
                "ninja",
                "pkg-config",
                "if: build_platform != target_platform\n      then: make"
            ]
        ),
        list(&host, &["zlib", "openssl >=3", "python >=3.10"]),
        list(&run, &["python >=3.10", "typing-extensions ${{ minimum }}"]),
    ) + "\n"
}

fn tests(name: &str) -> String {
    format!(
        "tests:
  - script:
      - test -f ${{PREFIX}}/lib/{name}.so
      - {name} --version
      - {name} --help
    requirements:
      run:
        - coreutils
  - package_contents:
      files:
        - lib/{name}.so
        - include/{name}/*.h
"
    )
}

fn about(name: &str) -> String {
    format!(
        "about:
  homepage: https://example.com/{name}
  license: Apache-2.0
  summary: What {name} is good for, in one line
  description: |
    {name} is one of many packages of a large repository. It has a description of several lines,
    as most packages do, so that recipes are as long as they are in real life.
  repository: https://github.com/example/{name}
  documentation: https://docs.example.com/{name}
"
    )
}

/// A generator of numbers that are the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

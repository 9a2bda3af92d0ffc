//! The tests that are in the tree, found in its sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::run::{Result, root};

/// Where a test is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    /// The package, as cargo calls it.
    pub(crate) package: String,
    /// The function.
    pub(crate) function: String,
}

/// All tests, by `FILE::test`.
pub(crate) struct Sources(BTreeMap<String, Vec<Place>>);

impl Sources {
    /// Reads the sources of every crate.
    ///
    /// # Errors
    /// They can't be read.
    pub(crate) fn read() -> Result<Self> {
        let mut found: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for (package, dir) in packages()? {
            let mut files = Vec::new();
            sources(&dir, &mut files)?;
            for file in files {
                for function in functions(&fs::read_to_string(&file)?) {
                    let place = Place { package: package.clone(), function: function.clone() };
                    let places = found.entry(format!("{}::{function}", name_of(&file))).or_default();
                    // Two of one package run together: both count.
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
            }
        }
        Ok(Self(found))
    }

    /// Whether there is a test of this name.
    #[cfg(test)]
    pub(crate) fn have(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Where each of these tests is.
    ///
    /// # Errors
    /// One is not there, or there are two of that name.
    pub(crate) fn find_all(&self, named: &BTreeSet<String>) -> Result<BTreeMap<String, Place>> {
        let place = |name: &String| match self.0.get(name).map(Vec::as_slice) {
            Some([place]) => Ok((name.clone(), place.clone())),
            Some(_) => Err(format!("{name}: there are two tests of this name")),
            None => Err(format!("{name}: there is no such test")),
        };
        let (good, bad): (Vec<_>, Vec<_>) = named.iter().map(place).partition(std::result::Result::is_ok);
        let bad: Vec<String> = bad.into_iter().filter_map(std::result::Result::err).collect();
        if bad.is_empty() { Ok(good.into_iter().flatten().collect()) } else { Err(bad.join("\n").into()) }
    }
}

/// Each package that has tests, and its folder.
fn packages() -> Result<Vec<(String, PathBuf)>> {
    let mut packages = vec![("vestibule-scenarios".to_owned(), root().join("tests"))];
    for entry in fs::read_dir(root().join("crates"))? {
        let dir = entry?.path();
        let name = stem(&dir);
        packages.push((if name == "vestibule" { name } else { format!("vestibule-{name}") }, dir));
    }
    Ok(packages)
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// What the matrix calls a file: its name, or its folder's where it is called after what it is.
fn name_of(file: &Path) -> String {
    match stem(file).as_str() {
        "tests" | "main" | "mod" => file.parent().map(stem).unwrap_or_default(),
        name => name.to_owned(),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn functions(text: &str) -> Vec<String> {
    let (mut found, mut marked) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        marked |= line == "#[test]" || line.starts_with("#[tokio::test");
        if marked && let Some((_, rest)) = line.split_once("fn ") {
            found.push(rest.split('(').next().unwrap_or_default().to_owned());
            marked = false;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_their_mark() {
        let text = "fn helper() {}\n#[test]\nfn one() {}\n  #[tokio::test(flavor = \"x\")]\n  async fn two(a: A) {}\n";
        assert_eq!(functions(text), ["one", "two"]);
        assert_eq!(name_of(Path::new("a/once/tests.rs")), "once");
        assert_eq!(name_of(Path::new("a/once.rs")), "once");
    }

    #[test]
    fn a_name_must_be_there_once() {
        let place = |package: &str| Place { package: package.to_owned(), function: "a".to_owned() };
        let once = ("x::a".to_owned(), vec![place("p")]);
        let twice = ("y::a".to_owned(), vec![place("p"), place("q")]);
        let sources = Sources(BTreeMap::from([once, twice]));
        let find = |name: &str| sources.find_all(&BTreeSet::from([name.to_owned()]));
        assert_eq!(find("x::a").unwrap()["x::a"], place("p"));
        assert!(find("y::a").unwrap_err().to_string().contains("two"));
        assert!(find("z::a").unwrap_err().to_string().contains("no such test"));
    }
}

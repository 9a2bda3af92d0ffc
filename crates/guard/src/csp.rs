//! The application's Content-Security-Policy (CSP Level 3), and the least that lets the guard's one script run under it. Nothing
//! else of a policy is touched: the script is on the page's own origin, has no inline code, and sends nothing by itself but to
//! there.

use crate::html::ScriptTag;
use crate::script;

/// The directives that rule the elements of scripts, the closest first (section 6.8.3).
const RULING: [&str; 3] = ["script-src-elem", "script-src", "default-src"];

/// How the script gets into a page with these policies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// The script as the page must name it; `None` where it can't be let in without loosening a policy for others too.
    pub tag: Option<ScriptTag>,
    /// The values that take the place of the given ones, in their order; `None` where all stay as they are.
    pub policies: Option<Vec<String>>,
}

/// Finds it for the values of all `Content-Security-Policy` fields of an answer, and its origin as browsers write it.
///
/// Where a policy has a nonce, the script bears that; one is never added to a policy that has none and relies on
/// `'unsafe-inline'`, which a nonce would switch off (section 6.7.3.2). Otherwise its exact address is added.
/// `Content-Security-Policy-Report-Only` is a field of its own: given here as well, it reports nothing of the guard.
pub fn admit(policies: &[&str], own_origin: &str) -> Admission {
    let mut values: Vec<Vec<Policy<'_>>> =
        policies.iter().map(|value| value.split(',').map(Policy::parse).collect()).collect();
    let nonce = values.iter().flatten().find_map(|policy| policy.sources().iter().find_map(|source| nonce_in(source)));
    let mut scheme = Scheme { own_origin, nonce, hashed: false, changed: false, refused: false };
    for policy in values.iter_mut().flatten() {
        scheme.let_in(policy);
    }
    let Scheme { hashed, changed, refused, .. } = scheme;
    if refused {
        return Admission { tag: None, policies: None };
    }
    let tag = ScriptTag {
        src: script::url().to_owned(),
        nonce: nonce.map(str::to_owned),
        integrity: hashed.then(|| script::integrity().to_owned()),
    };
    let text = |value: &Vec<Policy<'_>>| value.iter().map(Policy::text).collect::<Vec<_>>().join(",");
    Admission { tag: Some(tag), policies: changed.then(|| values.iter().map(text).collect()) }
}

/// What is decided while policy after policy is looked at.
struct Scheme<'a> {
    own_origin: &'a str,
    nonce: Option<&'a str>,
    hashed: bool,
    changed: bool,
    refused: bool,
}

/// One policy: its directives as written, and what is to be added.
struct Policy<'a> {
    directives: Vec<&'a str>,
    /// The place of the ruling directive in the list, and its name.
    ruling: Option<(usize, &'static str)>,
    added: Option<String>,
}

impl Scheme<'_> {
    fn let_in(&mut self, policy: &mut Policy<'_>) {
        let sources = policy.sources();
        if policy.ruling.is_none() || self.lets_in(&sources) {
            return;
        }
        let dynamic = has(&sources, "'strict-dynamic'");
        let guarded = dynamic || sources.iter().any(|source| nonce_in(source).is_some() || is_hash(source));
        // Addresses mean nothing beside 'strict-dynamic', and a policy can't name an IPv6 address (section 2.3.1).
        let by_address = !dynamic && !self.own_origin.contains('[');
        policy.added = match self.nonce {
            _ if by_address => Some(format!("{}{}", self.own_origin, script::PATH)),
            Some(nonce) if guarded => Some(format!("'nonce-{nonce}'")),
            _ if guarded || !has(&sources, "'unsafe-inline'") => {
                self.hashed = true;
                Some(format!("'{}'", script::integrity()))
            }
            _ => None,
        };
        self.refused |= policy.added.is_none();
        self.changed = true;
    }

    /// Whether the script may run already.
    fn lets_in(&self, sources: &[&str]) -> bool {
        let by_nonce = sources.iter().any(|source| nonce_in(source).is_some() && nonce_in(source) == self.nonce);
        let secure = self.own_origin.starts_with("https:");
        let by_address = |source: &&str| {
            let source = source.to_ascii_lowercase();
            matches!(source.as_str(), "'self'" | "*" | "http:")
                || source == "https:" && secure
                || source.strip_suffix('/').unwrap_or(&source) == self.own_origin
        };
        by_nonce || !has(sources, "'strict-dynamic'") && sources.iter().any(by_address)
    }
}

impl<'a> Policy<'a> {
    fn parse(text: &'a str) -> Self {
        let directives: Vec<&str> = text.split(';').collect();
        let place = |name: &str| directives.iter().position(|directive| name_of(directive).eq_ignore_ascii_case(name));
        let ruling = RULING.iter().find_map(|name| place(name).map(|place| (place, *name)));
        Self { directives, ruling, added: None }
    }

    /// The sources of the ruling directive.
    fn sources(&self) -> Vec<&'a str> {
        let directive = self.ruling.and_then(|(place, _)| self.directives.get(place)).copied().unwrap_or_default();
        directive.split_ascii_whitespace().skip(1).collect()
    }

    fn text(&self) -> String {
        let (Some(added), Some((place, name))) = (&self.added, self.ruling) else { return self.directives.join(";") };
        let kept = self.sources().into_iter().filter(|source| !source.eq_ignore_ascii_case("'none'"));
        let sources: Vec<&str> = kept.chain([added.as_str()]).collect();
        let mut directives: Vec<String> = self.directives.iter().map(|text| (*text).to_owned()).collect();
        if name == "default-src" {
            directives.retain(|directive| !directive.trim().is_empty());
            directives.push(format!(" script-src {}", sources.join(" ")));
        } else {
            let lead = if place == 0 { "" } else { " " };
            directives[place] = format!("{lead}{name} {}", sources.join(" "));
        }
        directives.join(";")
    }
}

fn name_of(directive: &str) -> &str {
    directive.split_ascii_whitespace().next().unwrap_or_default()
}

fn has(sources: &[&str], keyword: &str) -> bool {
    sources.iter().any(|source| source.eq_ignore_ascii_case(keyword))
}

/// The nonce of a source; it has the letters that a policy allows, else it is none.
fn nonce_in(source: &str) -> Option<&str> {
    let (head, tail) = source.split_at_checked("'nonce-".len())?;
    let nonce = tail.strip_suffix('\'')?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    (head.eq_ignore_ascii_case("'nonce-") && !nonce.is_empty() && nonce.bytes().all(good)).then_some(nonce)
}

fn is_hash(source: &str) -> bool {
    let source = source.to_ascii_lowercase();
    ["'sha256-", "'sha384-", "'sha512-"].iter().any(|algorithm| source.starts_with(algorithm))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "http://app.localhost:8080";
    const PATH: &str = "http://app.localhost:8080/.vestibule/guard.js";

    fn unchanged(policy: &str, nonce: Option<&str>) {
        let admission = admit(&[policy], OWN);
        assert_eq!(admission.policies, None, "{policy}");
        assert_eq!(admission.tag.unwrap().nonce.as_deref(), nonce, "{policy}");
    }

    fn becomes(policy: &str, expected: &str) -> ScriptTag {
        let admission = admit(&[policy], OWN);
        assert_eq!(admission.policies, Some(vec![expected.to_owned()]), "{policy}");
        admission.tag.unwrap()
    }

    #[test]
    fn policies_that_let_it_in() {
        for policy in [
            "",
            "img-src 'none'; form-action 'self'",
            "default-src 'self'",
            "script-src 'SELF' 'unsafe-inline'",
            "default-src 'none'; script-src *",
            "script-src 'none'; script-src-elem http:",
            "script-src http://app.localhost:8080/",
        ] {
            unchanged(policy, None);
        }
        assert_eq!(admit(&["script-src https:"], "https://a.example").policies, None);
    }

    #[test]
    fn a_nonce_is_borne() {
        unchanged("script-src 'nonce-aB+/9==' 'strict-dynamic'", Some("aB+/9=="));
        unchanged("default-src 'none'; script-src 'NONCE-x' 'unsafe-inline' https:", Some("x"));
        // Not of scripts, or none.
        unchanged("style-src 'nonce-x'; script-src 'self'", None);
        unchanged("script-src 'self' 'nonce-' 'nonce-\"><x>'", None);
    }

    #[test]
    fn nothing_but_its_address_is_added() {
        becomes(
            "script-src 'unsafe-inline' https://cdn.example; img-src *",
            &format!("script-src 'unsafe-inline' https://cdn.example {PATH}; img-src *"),
        );
        becomes("img-src *; Script-Src 'none'", &format!("img-src *; script-src {PATH}"));
        becomes("script-src", &format!("script-src {PATH}"));
        becomes("script-src https:", &format!("script-src https: {PATH}"));
        becomes("script-src 'sha256-x'", &format!("script-src 'sha256-x' {PATH}"));
        becomes("script-src 'self'; script-src-elem 'none'", &format!("script-src 'self'; script-src-elem {PATH}"));
    }

    #[test]
    fn the_default_stays_for_all_else() {
        becomes("default-src 'none'; img-src *;", &format!("default-src 'none'; img-src *; script-src {PATH}"));
        becomes(
            "default-src https://a.example",
            &format!("default-src https://a.example; script-src https://a.example {PATH}"),
        );
    }

    #[test]
    fn beside_strict_dynamic_only_a_digest_counts() {
        let hash = script::integrity();
        let tag = becomes(
            "script-src 'strict-dynamic' 'sha256-x' 'self'",
            &format!("script-src 'strict-dynamic' 'sha256-x' 'self' '{hash}'"),
        );
        assert_eq!((tag.nonce, tag.integrity.as_deref()), (None, Some(hash)));
    }

    #[test]
    fn several_policies_all_count() {
        let admission = admit(
            &["script-src 'nonce-a'", "script-src 'nonce-b' 'strict-dynamic', default-src 'self', script-src 'none'"],
            OWN,
        );
        let second = format!("script-src 'nonce-b' 'strict-dynamic' 'nonce-a', default-src 'self',script-src {PATH}");
        assert_eq!(admission.policies, Some(vec!["script-src 'nonce-a'".to_owned(), second]));
        assert_eq!(admission.tag.unwrap().nonce.as_deref(), Some("a"));
    }

    #[test]
    fn an_address_that_no_policy_can_name() {
        let own = "http://[::1]:8080";
        assert_eq!(admit(&["script-src 'unsafe-inline'"], own), Admission { tag: None, policies: None });
        assert_eq!(admit(&["script-src 'self'"], own).policies, None);
        let hashed = admit(&["script-src https://cdn.example"], own);
        assert_eq!(hashed.policies, Some(vec![format!("script-src https://cdn.example '{}'", script::integrity())]));
        assert!(hashed.tag.unwrap().integrity.is_some());
    }
}

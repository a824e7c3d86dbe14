//! Findings as text for people (with the source's lines, in rustc's look) and as SARIF.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::finding::{Finding, Severity};

/// Lines of the source shown on either side of the one that is meant.
const AROUND: usize = 2;

/// How text looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    pub color: bool,
}

impl Look {
    fn styled(self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}

/// Text that moves no cursor and changes no colour of the terminal, whatever a patch holds.
pub fn printable(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

fn level(severity: Severity) -> (Level<'static>, AnsiColor) {
    match severity {
        Severity::Refuse => (Level::ERROR, AnsiColor::BrightRed),
        Severity::Judge => (Level::WARNING.with_name("judge"), AnsiColor::BrightMagenta),
        Severity::Warning => (Level::WARNING, AnsiColor::BrightYellow),
        Severity::Note => (Level::NOTE, AnsiColor::BrightGreen),
    }
}

fn title(finding: &Finding, message: &str, look: Look) -> String {
    let color = level(finding.severity).1.on_default().bold();
    let word = look.styled(color, &format!("{}[{}]", finding.severity.word(), finding.id.0.id));
    let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
    let newline = if rest.is_empty() { "" } else { "\n" };
    format!("{word}{}{newline}{rest}", look.styled(Style::new().bold(), &format!(": {first}")))
}

/// A finding with the lines that it is about; `source` is the text of its file.
pub fn human(finding: &Finding, source: Option<&str>, look: Look) -> String {
    let mut text = title(finding, &printable(&finding.message), look);
    if let Some(reason) = &finding.allowed {
        text.push_str(&format!("\n  allowed: {}", printable(reason)));
    }
    let Some(file) = finding.file.as_deref().map(printable) else { return text };
    match (finding.line, source.and_then(|source| excerpt(finding, &file, source, look))) {
        (Some(_), Some(excerpt)) => text.push_str(&format!("\n{excerpt}")),
        (Some(line), None) => text.push_str(&format!("\n  --> {file}:{line}")),
        (None, _) => text.push_str(&format!("\n  --> {file}")),
    }
    text
}

/// The lines around the finding's, with its own underlined.
fn excerpt(finding: &Finding, file: &str, source: &str, look: Look) -> Option<String> {
    let at = (finding.line? as usize).checked_sub(1)?;
    let lines: Vec<String> = source.lines().map(|line| printable(line).replace('\t', "        ")).collect();
    let line = lines.get(at)?;
    let first = at.saturating_sub(AROUND);
    let shown = &lines[first..(at + AROUND + 1).min(lines.len())];
    let before: usize = shown[..at - first].iter().map(|line| line.len() + 1).sum();
    let start = before + line.len() - line.trim_start().len();
    let span = start..(before + line.trim_end().len()).max(start);
    let text = shown.join("\n");
    let snippet = Snippet::source(text.as_str())
        .line_start(first + 1)
        .path(file)
        .fold(false)
        .annotation(AnnotationKind::Primary.span(span));
    let renderer = if look.color { Renderer::styled() } else { Renderer::plain() };
    Some(renderer.render(&[Group::with_level(level(finding.severity).0).element(snippet)]))
}

/// One line.
pub fn short(finding: &Finding, look: Look) -> String {
    let message = printable(&finding.message).lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let title = title(finding, &message, look);
    match (finding.file.as_deref().map(printable), finding.line) {
        (Some(file), Some(line)) => format!("{file}:{line}: {title}"),
        (Some(file), None) => format!("{file}: {title}"),
        (None, _) => title,
    }
}

/// SARIF 2.1.0 (OASIS), as code review tools read it. Paths are relative to the kernel source.
pub fn sarif(findings: &[Finding]) -> String {
    let mut rules: Vec<&Finding> = findings.iter().collect();
    rules.sort_by_key(|finding| finding.id.0.id);
    rules.dedup_by_key(|finding| finding.id.0.id);
    let rules: Vec<Value> = rules
        .iter()
        .map(|finding| json!({ "id": finding.id.0.id, "fullDescription": { "text": finding.id.0.explanation } }))
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "klp-extract",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "originalUriBaseIds": { "KERNEL": { "description": { "text": "the kernel source" } } },
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    });
    let mut text = serde_json::to_string_pretty(&document).expect("the document has only string keys");
    text.push('\n');
    text
}

fn result(finding: &Finding) -> Value {
    let level = match finding.severity {
        Severity::Refuse => "error",
        Severity::Judge | Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let mut result = json!({
        "ruleId": finding.id.0.id,
        "level": level,
        "message": { "text": finding.message },
        "properties": { "severity": finding.severity },
    });
    if let Some(file) = &finding.file {
        let mut place = json!({ "artifactLocation": { "uri": uri(file), "uriBaseId": "KERNEL" } });
        if let Some(line) = finding.line.filter(|line| *line > 0) {
            place["region"] = json!({ "startLine": line });
        }
        result["locations"] = json!([{ "physicalLocation": place }]);
    }
    if let Some(reason) = &finding.allowed {
        result["suppressions"] = json!([{ "kind": "external", "status": "accepted", "justification": reason }]);
    }
    result
}

/// A path as a relative reference (RFC 3986): bytes that have a meaning there, or none, are written as `%XX`.
fn uri(path: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-._~+,=@".contains(byte);
    path.bytes()
        .map(|byte| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{DATA_ADDED, HALF_PAIR};

    const PLAIN: Look = Look { color: false };

    #[test]
    fn the_source_is_shown_under_the_message() {
        let finding = Finding::new(HALF_PAIR, "one half\n  of a pair").at("a.c", Some(2));
        let shown = human(&finding, Some("int f(void)\n\tlock();\n}\n"), PLAIN);
        let expected = "judge[half-pair]: one half\n  of a pair\n --> a.c:2:9\n  |\n1 | int f(void)\n2 |         lock();\n  |         ^^^^^^^\n3 | }\n  |";
        assert_eq!(shown, expected);
        let without = human(&finding, None, PLAIN);
        assert!(without.ends_with("\n  --> a.c:2"), "{without}");
        assert_eq!(short(&finding, PLAIN), "a.c:2: judge[half-pair]: one half of a pair");
    }

    #[test]
    fn escapes_of_a_patch_reach_no_terminal() {
        let finding = Finding::new(DATA_ADDED, "\u{1b}[2Jgone").at("\u{1b}]0;t\u{7}.c", Some(1));
        for text in [human(&finding, Some("\u{1b}[31m\n"), PLAIN), short(&finding, PLAIN)] {
            assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
        }
    }

    #[test]
    fn sarif_names_rules_and_places() {
        let mut allowed = Finding::new(HALF_PAIR, "<b>").at("a b.c", Some(3));
        allowed.allowed = Some("judged".into());
        let value: Value = serde_json::from_str(&sarif(&[allowed])).unwrap();
        let run = &value["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"][0]["id"], "half-pair");
        let place = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(
            (place["artifactLocation"]["uri"].as_str(), place["region"]["startLine"].as_u64()),
            (Some("a%20b.c"), Some(3))
        );
        assert_eq!(run["results"][0]["suppressions"][0]["justification"], "judged");
    }
}

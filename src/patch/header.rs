//! What surrounds a diff: mails, and the subject, commit, CVE and trailers that they carry.

use std::collections::BTreeSet;

use mailparse::MailHeaderMap as _;
use serde::{Deserialize, Serialize};

use crate::finding::{Finding, PATCH_INVALID, Result};

/// What a patch says about itself. Nothing here steers a decision; it is shown to the reader of the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Without `[PATCH n/m]`.
    pub subject: Option<String>,
    /// From `From <sha> Mon Sep 17 ...` (format-patch) or `commit <sha>` (`git show`), as long as it is written there.
    pub commit: Option<String>,
    /// The mainline commit that a stable commit names: `commit <sha> upstream.`, `[ Upstream commit <sha> ]`.
    pub upstream: Option<String>,
    /// `CVE-YYYY-N`, in the order of their first mention in the message, then in the file's name.
    pub cves: Vec<String>,
    /// `Fixes`, `Reported-by`, `Link`, ... in their order.
    pub trailers: Vec<(String, String)>,
    /// The patch file as the user named it.
    pub source: String,
}

/// One message of a patch file: its header, and the text that holds the diff.
pub(super) struct Message {
    pub header: Header,
    pub body: Vec<u8>,
    /// Line of the patch file that the body's first line is, counted from 1.
    pub first_line: u32,
    /// The body was quoted-printable or base64: lines count from its own beginning.
    pub decoded: bool,
}

/// Cuts a patch file into its messages and decodes them. A file that is no mail is one message.
pub(super) fn messages(name: &str, bytes: &[u8]) -> Result<Vec<Message>> {
    let mut starts: Vec<usize> = line_starts(bytes).filter(|at| is_mbox_line(line_at(bytes, *at))).collect();
    if starts.first() != Some(&0) {
        starts.insert(0, 0);
    }
    starts.push(bytes.len());
    let mut all = Vec::new();
    let mut first_line = 1;
    for pair in starts.windows(2) {
        let text = &bytes[pair[0]..pair[1]];
        if !text.iter().all(u8::is_ascii_whitespace) {
            all.push(message(name, text, first_line)?);
        }
        first_line += count_lines(text);
    }
    Ok(all)
}

fn message(name: &str, text: &[u8], mut first_line: u32) -> Result<Message> {
    let mut header = Header { source: name.to_string(), ..Header::default() };
    let mut rest = text;
    if is_mbox_line(line_at(text, 0)) {
        let line = line_at(text, 0);
        header.commit = String::from_utf8_lossy(line).split(' ').nth(1).filter(|w| is_sha(w)).map(str::to_string);
        rest = &text[(line.len() + 1).min(text.len())..];
        first_line += 1;
    }
    let (body, body_line, decoded) = if is_mail(rest) {
        let mail = mailparse::parse_mail(rest).map_err(|e| invalid_mail(name, first_line, &e))?;
        header.subject = mail.headers.get_first_value("Subject").map(|s| subject(&s));
        let mut body = Vec::new();
        texts(&mail, &mut body).map_err(|e| invalid_mail(name, first_line, &e))?;
        // An undecoded body is the end of the file, so its lines can be named as the user's editor counts them.
        match rest.strip_suffix(body.as_slice()) {
            Some(head) => (body, first_line + count_lines(head), false),
            None => (body, 1, true),
        }
    } else {
        (rest.to_vec(), first_line, false)
    };
    describe(&mut header, &String::from_utf8_lossy(prose(&body)));
    for cve in cves(name) {
        if !header.cves.contains(&cve) {
            header.cves.push(cve);
        }
    }
    Ok(Message { header, body, first_line: body_line, decoded })
}

fn invalid_mail(name: &str, line: u32, error: &mailparse::MailParseError) -> crate::finding::Error {
    Finding::new(PATCH_INVALID, format!("the mail can't be decoded: {error}")).at(name, Some(line)).into()
}

/// All text parts: list software and mail programs put patches into attachments and append footers.
fn texts(mail: &mailparse::ParsedMail, out: &mut Vec<u8>) -> std::result::Result<(), mailparse::MailParseError> {
    if mail.subparts.is_empty() {
        let kind = &mail.ctype.mimetype;
        if kind.starts_with("text/") && kind != "text/html" || kind == "application/octet-stream" {
            out.extend(mail.get_body_raw()?);
        }
    }
    mail.subparts.iter().try_for_each(|part| texts(part, out))
}

/// Does the text begin with mail headers? `Subject:` alone counts: quilt series are written that way.
fn is_mail(text: &[u8]) -> bool {
    let mut found = false;
    for line in text.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return found;
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            continue;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { return false };
        let key = &line[..colon];
        if key.is_empty() || !key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            return false;
        }
        found |= key.eq_ignore_ascii_case(b"subject") || key.eq_ignore_ascii_case(b"from");
    }
    false
}

/// `From SOMETHING Mon Sep 17 00:00:00 2001`, the line between the mails of an mbox; RFC 4155.
fn is_mbox_line(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    words.len() >= 6
        && words[0] == "From"
        && line.starts_with("From ")
        && ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&words[2])
        && words[5].contains(':')
}

/// Everything before the diff.
fn prose(body: &[u8]) -> &[u8] {
    let diff = line_starts(body).find(|at| {
        let line = line_at(body, *at);
        let next = line_at(body, (at + line.len() + 1).min(body.len()));
        line.starts_with(b"diff --git ")
            || line.starts_with(b"Index: ")
            || line.trim_ascii_end() == b"---"
            || line.starts_with(b"--- ") && next.starts_with(b"+++ ")
    });
    &body[..diff.unwrap_or(body.len())]
}

/// Fills in what the prose says.
fn describe(header: &mut Header, prose: &str) {
    let mut shown = false;
    for (number, line) in prose.lines().enumerate() {
        let text = line.trim();
        if let Some(sha) = text.strip_prefix("commit ").map(|r| r.split(' ').next().unwrap_or_default())
            && is_sha(sha)
        {
            if text.to_ascii_lowercase().contains("upstream") {
                header.upstream.get_or_insert(sha.to_string());
            } else if number == 0 {
                header.commit.get_or_insert(sha.to_string());
                shown = true;
            }
        }
        let lower = text.trim_start_matches(['[', ' ']).to_ascii_lowercase();
        if let Some(sha) = lower.strip_prefix("upstream commit ").and_then(|r| r.split([' ', ']']).next())
            && is_sha(sha)
        {
            header.upstream.get_or_insert(sha.to_string());
        }
        if header.subject.is_none() {
            if let Some(value) = text.strip_prefix("Subject:") {
                header.subject = Some(subject(value));
            } else if shown && line.starts_with("    ") && !text.is_empty() {
                header.subject = Some(subject(text));
            }
        }
        if let Some((key, value)) = text.split_once(": ")
            && is_trailer(key)
        {
            header.trailers.push((key.to_string(), value.trim().to_string()));
        }
    }
    let mut known = BTreeSet::new();
    let all = cves(header.subject.as_deref().unwrap_or_default()).into_iter().chain(cves(prose));
    header.cves.extend(all.filter(|cve| known.insert(cve.clone())));
}

fn is_trailer(key: &str) -> bool {
    const NAMES: [&str; 7] = ["Fixes", "Link", "Closes", "Cc", "References", "Message-ID", "Message-Id"];
    NAMES.contains(&key)
        || key.ends_with("-by")
            && key.starts_with(|c: char| c.is_ascii_uppercase())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The subject without `Re:` and `[PATCH 6.1 3/7]`; other brackets belong to it.
fn subject(text: &str) -> String {
    let mut text = text.trim();
    loop {
        if let Some(rest) = text.strip_prefix("Re:").or_else(|| text.strip_prefix("RE:")) {
            text = rest.trim_start();
        } else if let Some((tag, rest)) = text.strip_prefix('[').and_then(|r| r.split_once(']'))
            && ["patch", "rfc"].iter().any(|word| tag.to_ascii_lowercase().contains(word))
        {
            text = rest.trim_start();
        } else {
            return text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }
}

/// At least 12 digits: shorter ones are ambiguous in the kernel's history; all zeros stand for no commit.
fn is_sha(word: &str) -> bool {
    (12..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit()) && word.bytes().any(|b| b != b'0')
}

fn cves(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, _) in text.match_indices("CVE-") {
        let rest = &text[at + 4..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
        let mut parts = rest[..end].split('-');
        if let (Some(year), Some(number)) = (parts.next(), parts.next())
            && year.len() == 4
            && number.len() >= 4
        {
            all.push(format!("CVE-{year}-{number}"));
        }
    }
    all
}

pub(super) fn line_at(bytes: &[u8], at: usize) -> &[u8] {
    let rest = &bytes[at..];
    &rest[..rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())]
}

fn line_starts(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let after = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1);
    std::iter::once(0).chain(after).filter(|at| *at < bytes.len())
}

fn count_lines(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|b| **b == b'\n').count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Header {
        messages("fix.patch", text.as_bytes()).unwrap().remove(0).header
    }

    #[test]
    fn format_patch_mail() {
        let header = one("From 1234567890abcdef1234567890abcdef12345678 Mon Sep 17 00:00:00 2001\n\
            From: A <a@example.org>\nSubject: [PATCH 6.1 3/7] =?UTF-8?q?net:_f=C3=BCr?=\n all\n\n\
            commit abcdefabcdefabcdef upstream.\n\nText of CVE-2026-12345, CVE-2026-12345.\n\n\
            Fixes: 123456789abc (\"x\")\nReported-by: B <b@example.org>\n---\n a.c | 1 +\n CVE-2020-1111\n");
        assert_eq!(header.subject.as_deref(), Some("net: für all"));
        assert_eq!(header.commit.as_deref(), Some("1234567890abcdef1234567890abcdef12345678"));
        assert_eq!(header.upstream.as_deref(), Some("abcdefabcdefabcdef"));
        assert_eq!(header.cves, ["CVE-2026-12345"]);
        assert_eq!(header.trailers.len(), 2);
    }

    #[test]
    fn git_show_and_other_brackets() {
        let header = one("commit 1234567890ab\nAuthor: A <a>\nDate: now\n\n    [net] fix it\n\n    \
            [ Upstream commit fedcba9876543210 ]\n\ndiff --git a/x b/x\n");
        assert_eq!(header.subject.as_deref(), Some("[net] fix it"));
        assert_eq!(header.commit.as_deref(), Some("1234567890ab"));
        assert_eq!(header.upstream.as_deref(), Some("fedcba9876543210"));
    }

    #[test]
    fn mbox_with_several_mails_counts_lines() {
        let mail = "From x@y Thu Jan  1 00:00:00 2026\nSubject: a\n\nbody\n";
        let all = messages("m", format!("{mail}\n{mail}").as_bytes()).unwrap();
        assert_eq!(all.iter().map(|m| m.first_line).collect::<Vec<_>>(), [4, 9]);
    }
}

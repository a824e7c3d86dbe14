//! `review.html`: one file that needs nothing else, with every text escaped by the template engine.

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};
use tera::Context;

use crate::config::House;
use crate::finding::Result;
use crate::kernel::sha256_of;

use super::render;

/// The file's name in the module's folder.
pub const REVIEW: &str = "review.html";

const STYLE: &str = include_str!("../../templates/review.css");
const SCRIPT: &str = include_str!("../../templates/review.js");

/// The page of a module whose other files are `files`. The browser is told the hash of the only script that may run, so that
/// no other could even if it got into the page.
pub fn review(review: &crate::review::Review, files: &[(String, String)], house: &House) -> Result<String> {
    let outputs: Vec<(&str, String)> =
        files.iter().map(|(name, text)| (name.as_str(), sha256_of(text.as_bytes()))).collect();
    let inputs: Vec<(&String, &String)> = review.inputs.iter().collect();
    let mut context = Context::new();
    context.insert("review", review);
    context.insert("inputs", &inputs);
    context.insert("outputs", &outputs);
    context.insert("style", STYLE);
    context.insert("script", SCRIPT);
    context.insert("script_hash", &format!("sha256-{}", BASE64.encode(&Sha256::digest(SCRIPT))));
    render("review.html", &context, house)
}

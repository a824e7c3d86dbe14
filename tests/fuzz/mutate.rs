//! Inputs made of seeds: bytes and words changed, parts moved, doubled and mixed. The same seed gives the same inputs.

use super::random::Random;
use super::seeds;

/// Longest input, in bytes; longer ones are what `seeds::hard` is for.
const LONGEST: usize = 1 << 16;

pub struct Mutator<'a> {
    random: Random,
    seeds: &'a [Vec<u8>],
    words: &'static [&'static [u8]],
}

impl<'a> Mutator<'a> {
    pub fn new(name: &str, seed: u64, seeds: &'a [Vec<u8>]) -> Mutator<'a> {
        Mutator { random: Random::new(seed, name), seeds, words: seeds::words(name) }
    }

    pub fn next(&mut self) -> Vec<u8> {
        let mut data = self.random.pick(self.seeds).clone();
        for _ in 0..self.random.between(1, 6) {
            self.change(&mut data);
        }
        data.truncate(LONGEST);
        data
    }

    fn range(&mut self, data: &[u8]) -> std::ops::Range<usize> {
        let start = self.random.below(data.len() + 1);
        let most = if self.random.chance(80) { 16 } else { 4096 };
        start..(start + self.random.below(most)).min(data.len())
    }

    fn change(&mut self, data: &mut Vec<u8>) {
        const NUMBERS: [u64; 12] =
            [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];
        let range = self.range(data);
        match self.random.below(9) {
            0 if !data.is_empty() => {
                let at = self.random.below(data.len());
                data[at] ^= 1 << self.random.below(8);
            }
            1 if !data.is_empty() => {
                let at = self.random.below(data.len());
                data[at] = self.random.next() as u8;
            }
            2 => drop(data.drain(range)),
            3 => {
                let part = data[range.clone()].to_vec();
                let times = if self.random.chance(90) { 1 } else { self.random.between(1, 4000) };
                let times = times.min(LONGEST / part.len().max(1));
                data.splice(range.start..range.start, part.repeat(times));
            }
            4 => {
                let other = self.random.pick(self.seeds);
                let from = self.random.below(other.len() + 1);
                let until = (from + self.random.below(512)).min(other.len());
                data.splice(range, other[from..until].iter().copied());
            }
            5 => {
                let width = *self.random.pick(&[1, 2, 4, 8]);
                let number = self.random.pick(&NUMBERS).wrapping_add(self.random.below(3) as u64).to_le_bytes();
                if range.start + width <= data.len() {
                    data[range.start..range.start + width].copy_from_slice(&number[..width]);
                }
            }
            6 => {
                let number = self.random.pick(&NUMBERS).to_string();
                data.splice(range, number.into_bytes());
            }
            7 => data.truncate(range.end),
            _ if !self.words.is_empty() => {
                let word = self.random.pick(self.words);
                let until = if self.random.chance(50) { range.start } else { range.end };
                data.splice(range.start..until, word.iter().copied());
            }
            _ => {}
        }
    }
}

/// A word as libFuzzer's dictionaries have them.
pub fn dictionary_line(word: &[u8]) -> String {
    let bytes: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{bytes}\"\n")
}

//! By name: the statements at file scope that declare it.

use super::groups::StatementId;
use super::lex::Symbol;
use super::names::{Name, Role};

/// One declaration of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declaration {
    pub statement: StatementId,
    pub role: Role,
}

/// The names of a unit. Tags have a name space of their own (C11 6.2.3).
#[derive(Debug)]
pub struct Declared {
    ordinary: Table,
    tags: Table,
}

#[derive(Debug)]
struct Table {
    /// By symbol: where its entries start; one more for the end of the last.
    starts: Vec<u32>,
    entries: Vec<Declaration>,
}

impl Table {
    fn new(names: &[Vec<Name>], symbols: usize, are_tags: bool) -> Table {
        let all = || {
            let statements = (0..).map(StatementId).zip(names);
            let each = statements.flat_map(|(statement, names)| names.iter().map(move |name| (statement, name)));
            each.filter(|(_, name)| name.role.is_tag() == are_tags)
        };
        let mut starts = vec![0; symbols + 1];
        all().for_each(|(_, name)| starts[name.symbol.0 as usize + 1] += 1);
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut next = starts.clone();
        let nothing = Declaration { statement: StatementId(0), role: Role::Variable };
        let mut entries = vec![nothing; starts[symbols] as usize];
        for (statement, name) in all() {
            let at = &mut next[name.symbol.0 as usize];
            entries[*at as usize] = Declaration { statement, role: name.role };
            *at += 1;
        }
        Table { starts, entries }
    }

    fn of(&self, symbol: Symbol) -> &[Declaration] {
        let index = symbol.0 as usize;
        match self.starts.get(index..index + 2) {
            Some(range) => &self.entries[range[0] as usize..range[1] as usize],
            None => &[],
        }
    }
}

impl Declared {
    /// `names` holds those of each statement, `symbols` is the number of symbols that there are.
    pub fn new(names: &[Vec<Name>], symbols: usize) -> Declared {
        Declared { ordinary: Table::new(names, symbols, false), tags: Table::new(names, symbols, true) }
    }

    /// All declarations of a function, object, typedef or enumerator, in order.
    pub fn ordinary(&self, symbol: Symbol) -> &[Declaration] {
        self.ordinary.of(symbol)
    }

    /// All definitions of a tag, in order.
    pub fn tags(&self, symbol: Symbol) -> &[Declaration] {
        self.tags.of(symbol)
    }

    /// The first definition of a tag.
    pub fn tag(&self, symbol: Symbol) -> Option<StatementId> {
        self.tags(symbol).first().map(|definition| definition.statement)
    }
}

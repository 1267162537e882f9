//! Variables with their attributes, in dynamically scoped layers.

use std::collections::BTreeMap;

use super::ast::Text;

/// What a variable holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Text),
    Indexed(BTreeMap<i64, Text>),
    Associative(BTreeMap<Text, Text>),
}

/// A declared name; it may have attributes and no value yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variable {
    pub(crate) value: Option<Value>,
    pub(crate) exported: bool,
    pub(crate) readonly: bool,
    pub(crate) integer: bool,
    pub(crate) lower: bool,
    pub(crate) upper: bool,
}

impl Variable {
    /// What `$name` gives: the text, or element 0.
    pub(crate) fn scalar(&self) -> Option<&Text> {
        match self.value.as_ref()? {
            Value::Text(text) => Some(text),
            Value::Indexed(elements) => elements.get(&0),
            Value::Associative(elements) => elements.get(b"0".as_slice()),
        }
    }
}

/// An assignment to a variable that cannot change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadOnly(pub(crate) Text);

/// All variables. The first layer is global; each function call adds one.
#[derive(Debug, Clone)]
pub(crate) struct Variables {
    layers: Vec<BTreeMap<Text, Variable>>,
}

impl Default for Variables {
    fn default() -> Self {
        Self {
            layers: vec![BTreeMap::new()],
        }
    }
}

impl Variables {
    pub(crate) fn enter(&mut self) {
        self.layers.push(BTreeMap::new());
    }

    pub(crate) fn leave(&mut self) {
        if self.layers.len() > 1 {
            self.layers.pop();
        }
    }

    /// Whether a function is running, so that `local` has a place.
    pub(crate) fn in_function(&self) -> bool {
        self.layers.len() > 1
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Variable> {
        self.layers.iter().rev().find_map(|layer| layer.get(name))
    }

    pub(crate) fn scalar(&self, name: &[u8]) -> Option<&Text> {
        self.get(name)?.scalar()
    }

    /// Whether the name has a value (`test -v`).
    pub(crate) fn is_set(&self, name: &[u8]) -> bool {
        self.get(name)
            .is_some_and(|variable| variable.value.is_some())
    }

    /// The innermost declaration of `name`, or a new global one.
    pub(crate) fn entry(&mut self, name: &[u8]) -> &mut Variable {
        let place = self
            .layers
            .iter()
            .rposition(|layer| layer.contains_key(name))
            .unwrap_or(0);
        self.layer(place).entry(name.to_vec()).or_default()
    }

    /// A declaration in the running function.
    pub(crate) fn local(&mut self, name: &[u8]) -> &mut Variable {
        let exported = self.get(name).is_some_and(|outer| outer.exported);
        let top = self.layers.len().saturating_sub(1);
        self.layer(top)
            .entry(name.to_vec())
            .or_insert_with(|| Variable {
                exported,
                ..Variable::default()
            })
    }

    /// A declaration outside all functions.
    pub(crate) fn global(&mut self, name: &[u8]) -> &mut Variable {
        self.layer(0).entry(name.to_vec()).or_default()
    }

    fn layer(&mut self, place: usize) -> &mut BTreeMap<Text, Variable> {
        if place >= self.layers.len() {
            self.layers.push(BTreeMap::new());
        }
        let last = self.layers.len().saturating_sub(1);
        // The vector is never empty: it starts with one layer and `leave` keeps the first.
        #[expect(clippy::indexing_slicing, reason = "bounded by the length just read")]
        &mut self.layers[place.min(last)]
    }

    /// Gives a variable a value, minding its attributes.
    pub(crate) fn assign(&mut self, name: &[u8], value: Value) -> Result<(), ReadOnly> {
        store(self.entry(name), name, value)
    }

    pub(crate) fn assign_text(
        &mut self,
        name: &[u8],
        text: impl Into<Text>,
    ) -> Result<(), ReadOnly> {
        let variable = self.entry(name);
        match &mut variable.value {
            // `a=x` on an array sets its first element.
            Some(Value::Indexed(elements)) if !variable.readonly => {
                elements.insert(0, text.into());
                Ok(())
            }
            _ => store(variable, name, Value::Text(text.into())),
        }
    }

    /// Removes the innermost declaration.
    pub(crate) fn unset(&mut self, name: &[u8]) -> Result<(), ReadOnly> {
        for layer in self.layers.iter_mut().rev() {
            if let Some(variable) = layer.get(name) {
                if variable.readonly {
                    return Err(ReadOnly(name.to_vec()));
                }
                layer.remove(name);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Exported texts by name. Arrays cannot be exported.
    pub(crate) fn exported(&self) -> BTreeMap<Text, Text> {
        let mut exported = BTreeMap::new();
        for layer in &self.layers {
            for (name, variable) in layer {
                match &variable.value {
                    Some(Value::Text(text)) if variable.exported => {
                        exported.insert(name.clone(), text.clone());
                    }
                    _ => {
                        exported.remove(name);
                    }
                }
            }
        }
        exported
    }

    /// Names that have a value, each once, in order.
    pub(crate) fn names(&self) -> Vec<&Text> {
        let mut names: Vec<&Text> = self
            .layers
            .iter()
            .flat_map(|layer| layer.iter())
            .filter(|(_, variable)| variable.value.is_some())
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Sets the value of `variable`, folding case where it is declared so.
pub(crate) fn store(
    variable: &mut Variable,
    name: &[u8],
    mut value: Value,
) -> Result<(), ReadOnly> {
    if variable.readonly {
        return Err(ReadOnly(name.to_vec()));
    }
    if let Value::Text(text) = &mut value {
        if variable.upper {
            text.make_ascii_uppercase();
        } else if variable.lower {
            text.make_ascii_lowercase();
        }
    }
    variable.value = Some(value);
    Ok(())
}

/// Whether `name` can be the name of a variable.
pub(crate) fn is_identifier(name: &[u8]) -> bool {
    let mut bytes = name.iter().copied();
    bytes
        .next()
        .is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

//! `TAG:value` fields of one header line.

/// The fields of a line, in order, each tag once.
pub(super) struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    /// Parses what follows the record type, tab first.
    pub(super) fn parse(rest: &'a str) -> Result<Self, String> {
        let Some(rest) = rest.strip_prefix('\t') else {
            return Err("no tab follows its record type".into());
        };
        let mut fields: Vec<(&str, &str)> = Vec::new();
        for field in rest.split('\t') {
            let tag = field.get(..2).filter(|tag| is_tag(tag));
            let value = field.get(2..).and_then(|rest| rest.strip_prefix(':'));
            let (Some(tag), Some(value)) = (tag, value) else {
                return Err("a field is not a tag, a colon and a value".into());
            };
            if value.is_empty() {
                return Err(format!("{tag} is empty"));
            }
            if fields.iter().any(|(known, _)| *known == tag) {
                return Err(format!("{tag} stands twice"));
            }
            fields.push((tag, value));
        }
        Ok(Self(fields))
    }

    pub(super) fn get(&self, tag: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == tag).map(|(_, value)| *value)
    }

    pub(super) fn required(&self, tag: &str) -> Result<&'a str, String> {
        self.get(tag).ok_or_else(|| format!("{tag} is missing"))
    }
}

fn is_tag(tag: &str) -> bool {
    matches!(tag.as_bytes(), [first, second]
        if first.is_ascii_alphabetic() && second.is_ascii_alphanumeric())
}

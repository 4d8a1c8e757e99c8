//! Pages of lists: what is asked for, and the links between them.

use super::errors::Fault;
use super::query::{self, Query};
use super::wire::{Link, PageView};

/// Items of a page, where nothing else is asked for, and at most.
const SIZE: u32 = 10;
const LARGEST: u32 = 2000;
/// Orders that are looked at. There are fewer properties.
const MOST: usize = 16;

/// By what a list can be sorted: the name that clients use, and what it means.
pub(super) type Properties<P> = &'static [(&'static str, P)];

/// Which page is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paging<P> {
    pub(super) number: u32,
    pub(super) size: u32,
    /// By what, in order.
    pub(super) sort: Vec<Order<P>>,
}

/// One order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order<P> {
    pub(super) name: &'static str,
    pub(super) by: P,
    pub(super) descending: bool,
}

impl<P: Copy> Paging<P> {
    /// What the query says. Numbers that are none, or too small, count as not given; a size that is too large is cut. The first
    /// of the properties, descending, is the usual order.
    pub(super) fn read(query: &Query, properties: Properties<P>, entity: &str) -> Result<Self, Fault> {
        let number = |name| query.first(name).and_then(integer);
        let size = number("size").filter(|size| *size >= 1).map_or(SIZE, |size| size.min(LARGEST));
        let mut sort = Vec::new();
        for text in query.all("sort").take(MOST) {
            read_orders(text, properties, entity, &mut sort)?;
        }
        if let (true, Some((name, by))) = (sort.is_empty(), properties.first()) {
            sort.push(Order { name, by: *by, descending: true });
        }
        sort.truncate(MOST);
        Ok(Self { number: number("page").unwrap_or(0), size, sort })
    }

    /// How many items come before the page.
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.number) * u64::from(self.size)
    }

    /// How the answer describes it.
    pub(super) fn view(&self, total: u64) -> PageView {
        PageView { size: self.size.into(), total_elements: total, total_pages: self.pages(total), number: self.number }
    }

    fn pages(&self, total: u64) -> u64 {
        total.div_ceil(self.size.into())
    }

    /// The parameters of a page of this list: orders that go the same way stand together, as the original wrote them.
    fn parameters(&self, number: u64) -> String {
        let mut text = format!("page={number}&size={}", self.size);
        for group in self.sort.chunk_by(|a, b| a.descending == b.descending) {
            let names: Vec<_> = group.iter().map(|order| order.name).collect();
            let direction = if group.iter().any(|order| order.descending) { "desc" } else { "asc" };
            text.push_str(&format!("&sort={},{direction}", names.join(",")));
        }
        text
    }

    /// A page's links. `list` is the list's address without a query, `filters` what it was filtered by; `this` is the page's own
    /// address, where it is not the one that a page elsewhere in the list would have.
    pub(super) fn links(&self, list: &str, filters: &[(&str, Option<&str>)], this: Option<String>, total: u64) -> Vec<Link> {
        let given = given(filters);
        let page = |number: u64| {
            let separator = if given.is_empty() { "?" } else { "&" };
            format!("{list}{given}{separator}{}", self.parameters(number))
        };
        let (number, pages) = (u64::from(self.number), self.pages(total));
        let (has_previous, has_next) = (number > 0, number + 1 < pages);
        let mut links = Vec::new();
        if has_previous || has_next {
            links.push(Link { rel: "first", href: page(0) });
        }
        if has_previous {
            links.push(Link { rel: "prev", href: page(number - 1) });
        }
        links.push(Link { rel: "self", href: this.unwrap_or_else(|| page(number)) });
        if has_next {
            links.push(Link { rel: "next", href: page(number + 1) });
        }
        if has_previous || has_next {
            links.push(Link { rel: "last", href: page(pages.saturating_sub(1)) });
        }
        links
    }
}

/// The address of a list with the filters that were given, and a URI template (RFC 6570) of those that were not.
pub(super) fn template(list: &str, filters: &[(&str, Option<&str>)]) -> String {
    let given = given(filters);
    let missing: Vec<_> = filters.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    match (given.is_empty(), missing.join(",")) {
        (_, missing) if missing.is_empty() => format!("{list}{given}"),
        (true, missing) => format!("{list}{{?{missing}}}"),
        (false, missing) => format!("{list}{given}{{&{missing}}}"),
    }
}

/// The filters that were given, as a query; empty without any.
fn given(filters: &[(&str, Option<&str>)]) -> String {
    let mut text = String::new();
    for (name, value) in filters {
        if let Some(value) = value {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(&format!("{name}={}", query::value(value)));
        }
    }
    text
}

/// Not negative, and within the bounds of the original's.
fn integer(text: &str) -> Option<u32> {
    text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok())
}

/// `a,b,desc`; without a direction it is ascending.
fn read_orders<P: Copy>(text: &str, properties: Properties<P>, entity: &str, into: &mut Vec<Order<P>>) -> Result<(), Fault> {
    let mut words: Vec<&str> = text.split(',').map(str::trim).take(MOST).collect();
    let direction = match words.last() {
        Some(word) if word.eq_ignore_ascii_case("asc") => Some(false),
        Some(word) if word.eq_ignore_ascii_case("desc") => Some(true),
        _ => None,
    };
    if direction.is_some() {
        words.pop();
    }
    for word in words.into_iter().filter(|word| !word.is_empty()) {
        let Some((name, by)) = properties.iter().find(|(name, _)| *name == word) else {
            return Err(Fault::bad(format!("No property {word} found for type {entity}!")));
        };
        into.push(Order { name, by: *by, descending: direction.unwrap_or(false) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PROPERTIES: Properties<char> = &[("createdAt", 'c'), ("status", 's'), ("id", 'i')];
    const LIST: &str = "http://localhost:8080/deployments";

    fn read(query: &str) -> Result<Paging<char>, Fault> {
        Paging::read(&Query::new(Some(query)), PROPERTIES, "Deployment")
    }

    #[test]
    fn numbers_that_are_none_count_as_not_given() {
        for (query, number, size) in [
            ("", 0, 10),
            ("page=3&size=25", 3, 25),
            ("page=%2B3", 3, 10),
            ("page=-1&size=-1", 0, 10),
            ("page=x&size=1.5", 0, 10),
            ("page=&size=", 0, 10),
            ("size=0", 0, 10),
            ("size=2000", 0, 2000),
            ("size=2001", 0, 2000),
            ("size=2147483647", 0, 2000),
            ("size=2147483648&page=2147483648", 0, 10),
            ("page=2147483647&size=2000", i32::MAX.unsigned_abs(), 2000),
            ("page=1&page=2", 1, 10),
        ] {
            let paging = read(query).unwrap();
            assert_eq!((paging.number, paging.size), (number, size), "{query}");
        }
        assert_eq!(read("page=2147483647&size=2000").unwrap().offset(), 4_294_967_294_000);
    }

    #[test]
    fn orders() {
        for (query, expected, written) in [
            ("", "-c", "&sort=createdAt,desc"),
            ("sort=", "-c", "&sort=createdAt,desc"),
            ("sort=,desc", "-c", "&sort=createdAt,desc"),
            ("sort=status", "+s", "&sort=status,asc"),
            ("sort=status,DESC", "-s", "&sort=status,desc"),
            ("sort=status,id,asc", "+s+i", "&sort=status,id,asc"),
            ("sort=status,desc&sort=id", "-s+i", "&sort=status,desc&sort=id,asc"),
            ("sort=status&sort=id,asc", "+s+i", "&sort=status,id,asc"),
        ] {
            let paging = read(query).unwrap();
            let signs = paging.sort.iter().map(|order| format!("{}{}", if order.descending { '-' } else { '+' }, order.by));
            assert_eq!(signs.collect::<String>(), expected, "{query}");
            assert_eq!(paging.parameters(0), format!("page=0&size=10{written}"), "{query}");
        }
        for (query, word) in [("sort=creationTime,desc", "creationTime"), ("sort=asc,status", "asc"), ("sort=%7Bx%7D", "{x}")] {
            let fault = read(query).unwrap_err();
            assert_eq!(fault.status.as_u16(), 400);
            assert_eq!(fault.message.unwrap(), format!("No property {word} found for type Deployment!"));
        }
        assert_eq!(read(&format!("sort={}", "id,".repeat(9000))).unwrap().sort.len(), MOST);
    }

    #[test]
    fn links_stand_in_the_order_of_the_original() {
        let page = |number| format!("{LIST}?page={number}&size=10&sort=createdAt,desc");
        for (query, total, rels) in [
            ("", 0, &[("self", 0)][..]),
            ("", 10, &[("self", 0)]),
            ("", 11, &[("first", 0), ("self", 0), ("next", 1), ("last", 1)]),
            ("page=1", 30, &[("first", 0), ("prev", 0), ("self", 1), ("next", 2), ("last", 2)]),
            ("page=2", 30, &[("first", 0), ("prev", 1), ("self", 2), ("last", 2)]),
            // Beyond the end.
            ("page=7", 30, &[("first", 0), ("prev", 6), ("self", 7), ("last", 2)]),
            ("page=7", 0, &[("first", 0), ("prev", 6), ("self", 7), ("last", 0)]),
        ] {
            let links = read(query).unwrap().links(LIST, &[], None, total);
            let links: Vec<_> = links.into_iter().map(|link| (link.rel, link.href)).collect();
            let expected: Vec<_> = rels.iter().map(|(rel, number)| (*rel, page(*number))).collect();
            assert_eq!(links, expected, "{query} of {total}");
        }
    }

    #[test]
    fn links_keep_filters_and_the_list_itself_has_none_of_the_page() {
        let paging = read("page=1&size=2&sort=status,asc").unwrap();
        let filters = [("createdBy", Some("me")), ("userGroup", Some("a&b"))];
        let links = paging.links(LIST, &filters, Some(template(LIST, &filters)), 5);
        let hrefs: Vec<_> = links.iter().map(|link| link.href.as_str()).collect();
        let at = |number| format!("{LIST}?createdBy=me&userGroup=a%26b&page={number}&size=2&sort=status,asc");
        assert_eq!(hrefs, [&at(0), &at(0), &format!("{LIST}?createdBy=me&userGroup=a%26b"), &at(2), &at(2)]);
        assert_eq!(serde_json::to_string(&paging.view(5)).unwrap(), r#"{"size":2,"totalElements":5,"totalPages":3,"number":1}"#);
        assert_eq!(
            serde_json::to_string(&read("").unwrap().view(0)).unwrap(),
            r#"{"size":10,"totalElements":0,"totalPages":0,"number":0}"#
        );
    }

    #[test]
    fn filters_that_were_not_given_stand_as_a_template() {
        let issuer = "70389d9e-6638-49cd-86df-de7b4ddd4c39@https://iam-test.indigo-datacloud.eu/";
        for (by, group, expected) in [
            (None, None, "{?createdBy,userGroup}".to_owned()),
            (Some(issuer), None, format!("?createdBy={issuer}{{&userGroup}}")),
            (None, Some("g"), "?userGroup=g{&createdBy}".to_owned()),
            (Some("me"), Some("g"), "?createdBy=me&userGroup=g".to_owned()),
            // Braces of a value are none of the template.
            (Some("{x}"), Some("g"), "?createdBy=%7Bx%7D&userGroup=g".to_owned()),
        ] {
            assert_eq!(template(LIST, &[("createdBy", by), ("userGroup", group)]), format!("{LIST}{expected}"));
        }
    }
}

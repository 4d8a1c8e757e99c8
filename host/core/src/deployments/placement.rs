//! Which cloud is the best one: those that cannot serve are left out, the others are ranked, each with its reasons.

use super::blueprint::{Blueprint, ImageWish, Machine};
use crate::model::{Capacity, Gauge, Image, ImageStatus, Size};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of a cloud when something is placed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidate {
    pub(crate) cloud: String,
    /// Why it cannot be asked at all.
    pub(crate) absent: Option<String>,
    pub(crate) images: Vec<Image>,
    pub(crate) sizes: Vec<Size>,
    pub(crate) capacity: Option<Capacity>,
    /// What the agreements say, or the configuration: more is better.
    pub(crate) priority: f64,
    /// The agreements that cover it.
    pub(crate) agreements: Vec<String>,
    /// Its place in the order of an external ranker, the smaller the better.
    pub(crate) rank: Option<i64>,
    /// Failures of late, as a weight that fades.
    pub(crate) failures: f64,
    /// How long it takes to answer, in milliseconds.
    pub(crate) latency_ms: f64,
    /// What the owner has, where he pays for it.
    pub(crate) balance: Option<i64>,
    /// Credits per period and size.
    pub(crate) prices: BTreeMap<String, i64>,
    /// Whether it can attach further disks, join networks, and pass on what a first boot has to do.
    pub(crate) disks: bool,
    pub(crate) networks: bool,
    pub(crate) user_data: bool,
}

/// Image and size for one node of the template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fit {
    pub(crate) image: String,
    pub(crate) size: String,
}

/// A cloud that can serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Choice {
    pub(crate) cloud: String,
    /// Between 0 and 1.
    pub(crate) score: f64,
    /// What the score is made of.
    pub(crate) reasons: Vec<String>,
    /// By the name of the node.
    pub(crate) fits: BTreeMap<String, Fit>,
}

/// A cloud that cannot serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) cloud: String,
    pub(crate) reasons: Vec<String>,
}

/// The clouds, the best first, and those that are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) ranking: Vec<Choice>,
    pub(crate) refused: Vec<Refusal>,
}

/// How much each part of a score counts. They add up to 1.
const PRIORITY: f64 = 0.4;
const PRICE: f64 = 0.25;
const LOAD: f64 = 0.15;
const FAILURES: f64 = 0.15;
const LATENCY: f64 = 0.05;

/// Ranks the clouds for a blueprint.
pub(crate) fn place(blueprint: &Blueprint, candidates: &[Candidate]) -> Placement {
    let mut placement = Placement::default();
    let mut fitting = Vec::new();
    let cost = |candidate: &Candidate, fits: &BTreeMap<String, Fit>| -> i64 {
        let of = |node: &super::blueprint::NodePlan| {
            let price = fits.get(&node.name).and_then(|fit| candidate.prices.get(&fit.size)).copied().unwrap_or_default();
            price.saturating_mul(i64::from(node.count))
        };
        blueprint.nodes.iter().map(of).fold(0, i64::saturating_add)
    };
    for candidate in candidates {
        let fits = fit(blueprint, candidate).and_then(|fits| match (candidate.balance, cost(candidate, &fits)) {
            (Some(balance), cost) if cost > balance => {
                Err(vec![format!("credit: {cost} are needed for the first period, {balance} are left")])
            }
            _ => Ok(fits),
        });
        match fits {
            Ok(fits) => fitting.push((candidate, fits)),
            Err(reasons) => placement.refused.push(Refusal { cloud: candidate.cloud.clone(), reasons }),
        }
    }
    let price = |candidate: &Candidate, fits: &BTreeMap<String, Fit>| cost(candidate, fits) as f64;
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0_f64, f64::max);
    let dearest = most(&mut fitting.iter().map(|(candidate, fits)| price(candidate, fits)));
    let first = most(&mut fitting.iter().map(|(candidate, _)| candidate.priority));
    let slowest = most(&mut fitting.iter().map(|(candidate, _)| candidate.latency_ms));
    let share = |value: f64, of: f64| if of > 0.0 { (value / of).clamp(0.0, 1.0) } else { 0.0 };
    for (candidate, fits) in fitting {
        let cost = price(candidate, &fits);
        let parts = [
            ("priority", PRIORITY, if first > 0.0 { share(candidate.priority, first) } else { 1.0 }),
            ("price", PRICE, 1.0 - share(cost, dearest) / 2.0),
            ("free capacity", LOAD, free(candidate.capacity.as_ref())),
            ("recent failures", FAILURES, 1.0 / (1.0 + candidate.failures.max(0.0))),
            ("latency", LATENCY, 1.0 - share(candidate.latency_ms, slowest) / 2.0),
        ];
        let score = parts.iter().map(|(_, weight, value)| weight * value).sum();
        let mut reasons: Vec<_> =
            parts.iter().map(|(name, weight, value)| format!("{name}: {value:.2} of {weight:.2}")).collect();
        reasons.push(format!("costs {cost} credits a period"));
        reasons.extend(candidate.rank.map(|rank| format!("number {rank} by the ranker")));
        placement.ranking.push(Choice { cloud: candidate.cloud.clone(), score, reasons, fits });
    }
    // An external ranker decides where it has said something.
    let rank = |choice: &Choice| {
        let ranked = candidates.iter().find(|candidate| candidate.cloud == choice.cloud);
        ranked.and_then(|candidate| candidate.rank).unwrap_or(i64::MAX)
    };
    placement
        .ranking
        .sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| b.score.total_cmp(&a.score)).then_with(|| a.cloud.cmp(&b.cloud)));
    placement
}

/// The share of a cloud that is free, by its scarcest resource; what is not known is free by half.
fn free(capacity: Option<&Capacity>) -> f64 {
    let Some(capacity) = capacity else { return 0.5 };
    let share = |gauge: &Gauge| match (gauge.total, gauge.used) {
        (Some(total), Some(used)) if total > 0 => Some(total.saturating_sub(used) as f64 / total as f64),
        _ => None,
    };
    let gauges = [&capacity.vcpus, &capacity.ram_mb, &capacity.disk_gb, &capacity.nodes];
    gauges.into_iter().filter_map(share).reduce(f64::min).unwrap_or(0.5)
}

/// Image and size for each machine, or all reasons why it cannot be.
fn fit(blueprint: &Blueprint, candidate: &Candidate) -> Result<BTreeMap<String, Fit>, Vec<String>> {
    if let Some(why) = &candidate.absent {
        return Err(vec![why.clone()]);
    }
    let mut reasons: Vec<String> = Vec::new();
    for agreement in &blueprint.agreements {
        if !candidate.agreements.contains(agreement) {
            reasons.push(format!("the agreement `{agreement}` does not cover it"));
        }
    }
    for (node, kind) in &blueprint.foreign {
        reasons.push(format!("node `{node}` needs a provider of `{kind}`"));
    }
    let mut fits = BTreeMap::new();
    let mut needed = Needed::default();
    for node in blueprint.nodes.iter().filter(|node| node.count > 0) {
        let Some(machine) = &node.machine else { continue };
        if !machine.disks.is_empty() && !candidate.disks {
            reasons.push(format!("node `{}` needs further disks, which the driver cannot attach", node.name));
        }
        if !machine.networks.is_empty() && !candidate.networks {
            reasons.push(format!("node `{}` needs networks, which the driver cannot join", node.name));
        }
        if !node.software.is_empty() && !candidate.user_data {
            reasons.push(format!("node `{}` needs user data for its software, which the driver cannot pass on", node.name));
        }
        let image = image(&machine.image, &candidate.images).ok_or_else(|| wanted_image(&machine.image));
        let size = size(machine, &candidate.sizes).ok_or_else(|| "no size is large enough".to_owned());
        match (image, size) {
            (Ok(image), Ok(size)) => {
                needed.add(size, node.count);
                fits.insert(node.name.clone(), Fit { image: image.id.clone(), size: size.id.clone() });
            }
            (image, size) => {
                let missing = [image.err(), size.err()];
                reasons.extend(missing.into_iter().flatten().map(|why| format!("node `{}`: {why}", node.name)));
            }
        }
    }
    reasons.extend(candidate.capacity.as_ref().map(|capacity| needed.beyond(capacity)).unwrap_or_default());
    if reasons.is_empty() { Ok(fits) } else { Err(reasons) }
}

/// What a deployment takes of a cloud.
#[derive(Default)]
struct Needed {
    nodes: u64,
    vcpus: u64,
    ram_mb: u64,
}

impl Needed {
    fn add(&mut self, size: &Size, count: u32) {
        let count = u64::from(count);
        self.nodes += count;
        self.vcpus += count * u64::from(size.vcpus.unwrap_or_default());
        self.ram_mb += count.saturating_mul(size.ram_mb);
    }

    /// What there is not enough of.
    fn beyond(&self, capacity: &Capacity) -> Vec<String> {
        let lacking = |what: &str, needed: u64, gauge: &Gauge| {
            let left = gauge.total?.saturating_sub(gauge.used.unwrap_or_default());
            (needed > left).then(|| format!("quota: {needed} {what} are needed, {left} are left"))
        };
        let all = [
            lacking("nodes", self.nodes, &capacity.nodes),
            lacking("processors", self.vcpus, &capacity.vcpus),
            lacking("MiB of memory", self.ram_mb, &capacity.ram_mb),
        ];
        all.into_iter().flatten().collect()
    }
}

/// The image that is meant: by identifier or name, or the first that is what is asked for.
fn image<'i>(wish: &ImageWish, images: &'i [Image]) -> Option<&'i Image> {
    let mut usable = images.iter().filter(|image| !matches!(image.status, ImageStatus::Failed(_) | ImageStatus::Deleting));
    if let Some(name) = &wish.name {
        // `ost://host/id` and the like name the identifier at the provider.
        let name = name.split_once("://").map_or(name.as_str(), |(_, rest)| rest.rsplit('/').next().unwrap_or(rest));
        return usable.find(|image| image.id == name || image.name == name);
    }
    let known = |image: &Image, fact: &str| {
        image.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(fact)).map(|(_, value)| value.to_ascii_lowercase())
    };
    usable.find(|image| {
        // An image that does not say what it is may be what is asked for.
        wish.facts.iter().all(|(fact, wanted)| known(image, fact).is_none_or(|value| value == wanted.to_ascii_lowercase()))
    })
}

fn wanted_image(wish: &ImageWish) -> String {
    match &wish.name {
        Some(name) => format!("no image is called `{name}`"),
        None if wish.facts.is_empty() => "there is no image".into(),
        None => {
            let facts: Vec<_> = wish.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
            format!("no image has {}", facts.join(", "))
        }
    }
}

/// The size that is meant: by identifier or name, or the smallest that is large enough.
fn size<'s>(machine: &Machine, sizes: &'s [Size]) -> Option<&'s Size> {
    if let Some(name) = &machine.size {
        return sizes.iter().find(|size| size.id == *name || size.name == *name);
    }
    let enough = |size: &&Size| {
        size.vcpus.is_none_or(|vcpus| vcpus >= machine.cpus.unwrap_or_default())
            && size.ram_mb >= machine.ram_mib.unwrap_or_default()
            && size.disk_gb >= machine.disk_gb.unwrap_or_default()
    };
    sizes.iter().filter(enough).min_by_key(|size| (size.vcpus.unwrap_or_default(), size.ram_mb, size.disk_gb))
}

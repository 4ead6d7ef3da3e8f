//! Who is whose parent, while links come and go.
//!
//! Invariant: following parents from any node ends.

/// No node.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    parent: u32,
    first_child: u32,
    next: u32,
    before: u32,
}

const ALONE: Link = Link { parent: NONE, first_child: NONE, next: NONE, before: NONE };

/// Nodes, numbered from 0 on, each with at most one parent.
#[derive(Debug)]
pub(super) struct Links(Vec<Link>);

impl Links {
    /// So many nodes without links.
    pub(super) fn new(nodes: usize) -> Self {
        Self(vec![ALONE; nodes])
    }

    /// Adds a node.
    pub(super) fn push(&mut self) -> usize {
        self.0.push(ALONE);
        self.0.len() - 1
    }

    /// The parent of a node.
    pub(super) fn parent(&self, node: usize) -> Option<usize> {
        let parent = self.0[node].parent;
        (parent != NONE).then_some(parent as usize)
    }

    /// Whether a node has a parent.
    pub(super) fn has_parent(&self, node: usize) -> bool {
        self.0[node].parent != NONE
    }

    /// Makes `child`, which has no parent, a child of `parent`, unless it would be below itself.
    pub(super) fn link(&mut self, parent: usize, child: usize) {
        let (Ok(above), Ok(below)) = (u32::try_from(parent), u32::try_from(child)) else { return };
        if self.is_below(above, below) {
            return;
        }
        let next = self.0[parent].first_child;
        if next != NONE {
            self.0[next as usize].before = below;
        }
        self.0[parent].first_child = below;
        let link = &mut self.0[child];
        (link.parent, link.next, link.before) = (above, next, NONE);
    }

    /// Takes a node away from its parent.
    pub(super) fn cut(&mut self, node: usize) {
        let Link { parent, next, before, .. } = self.0[node];
        if parent == NONE {
            return;
        }
        if before == NONE {
            self.0[parent as usize].first_child = next;
        } else {
            self.0[before as usize].next = next;
        }
        if next != NONE {
            self.0[next as usize].before = before;
        }
        let link = &mut self.0[node];
        (link.parent, link.next, link.before) = (NONE, NONE, NONE);
    }

    /// Whether `node` is `top` or below it, `top` having no parent. Looks upwards from the one and
    /// downwards from the other by turns, so that the shorter way decides how long it takes.
    fn is_below(&self, node: u32, top: u32) -> bool {
        let mut up = node;
        let mut down = top;
        loop {
            if up == top || down == node {
                return true;
            }
            up = self.0[up as usize].parent;
            down = self.after(down, top);
            if up == NONE || down == NONE {
                return false;
            }
        }
    }

    /// The node after `node` in a walk through everything below `top`.
    fn after(&self, node: u32, top: u32) -> u32 {
        let first_child = self.0[node as usize].first_child;
        if first_child != NONE {
            return first_child;
        }
        let mut node = node;
        while node != top {
            let Link { next, parent, .. } = self.0[node as usize];
            if next != NONE {
                return next;
            }
            node = parent;
        }
        NONE
    }
}

import {hash} from 'node:crypto'

/** The Merkle tree of RFC 6962, section 2.1. 32 bytes of SHA-256. */
export type Hash = Buffer

const LEAF = Buffer.from([0])
const NODE = Buffer.from([1])

export const leafHash = (entry: Uint8Array): Hash => hash('sha256', Buffer.concat([LEAF, entry]), 'buffer')
export const nodeHash = (left: Hash, right: Hash): Hash => hash('sha256', Buffer.concat([NODE, left, right]), 'buffer')
export const emptyRoot = (): Hash => hash('sha256', '', 'buffer')

/** The root over leaves that are added one after the other, in memory of their logarithm. */
export const growingRoot = () => {
  // Of perfect subtrees, the largest first: one for each bit of `size` that is set.
  const peaks: Hash[] = []
  let size = 0
  return {
    size: () => size,
    add: (leaf: Hash): void => {
      let peak = leaf
      for (let rest = size; rest % 2 === 1; rest = (rest - 1) / 2) peak = nodeHash(peaks.pop()!, peak)
      peaks.push(peak)
      size++
    },
    root: (): Hash => (size === 0 ? emptyRoot() : peaks.reduceRight((right, left) => nodeHash(left, right))),
  }
}

export const rootOf = (leaves: readonly Hash[]): Hash => {
  const growing = growingRoot()
  for (const leaf of leaves) growing.add(leaf)
  return growing.root()
}

/** The root over the leaves from `index` · 2^`level`, 2^`level` of them. */
export type Subtree = (level: number, index: number) => Promise<Hash>

/** Where a tree of this size divides: the largest power of two below it. */
const halfOf = (size: number): number => 2 ** Math.ceil(Math.log2(size) - 1)

/** MTH(D[from:to]), of ranges that the tree itself is made of. */
export const rootOfRange = async (from: number, to: number, subtree: Subtree): Promise<Hash> => {
  const level = Math.log2(to - from)
  if (Number.isInteger(level)) return subtree(level, from / (to - from))
  const middle = from + halfOf(to - from)
  return nodeHash(await rootOfRange(from, middle, subtree), await rootOfRange(middle, to, subtree))
}

/** PATH(index, D[from:to]): what proves that the leaf is in the tree. */
export const inclusionPath = async (index: number, to: number, subtree: Subtree, from = 0): Promise<Hash[]> => {
  if (to - from === 1) return []
  const middle = from + halfOf(to - from)
  return index < middle
    ? [...(await inclusionPath(index, middle, subtree, from)), await rootOfRange(middle, to, subtree)]
    : [...(await inclusionPath(index, to, subtree, middle)), await rootOfRange(from, middle, subtree)]
}

/** PROOF(first, D[0:second]): what proves that the first leaves of a tree are all the leaves of an earlier one. */
export const consistencyPath = (first: number, second: number, subtree: Subtree): Promise<Hash[]> => {
  const within = async (earlier: number, from: number, to: number, isWhole: boolean): Promise<Hash[]> => {
    if (earlier === to) return isWhole ? [] : [await rootOfRange(from, to, subtree)]
    const middle = from + halfOf(to - from)
    return earlier <= middle
      ? [...(await within(earlier, from, middle, isWhole)), await rootOfRange(middle, to, subtree)]
      : [...(await within(earlier, middle, to, false)), await rootOfRange(from, middle, subtree)]
  }
  return within(first, 0, second, true)
}

/** The root that the path leads to from this leaf; null where the path is none of such a tree. */
export const rootByInclusion = (leaf: Hash, index: number, size: number, path: readonly Hash[]): Hash | null => {
  if (index < 0 || index >= size) return null
  const left = [...path]
  const climb = (at: number, of: number): Hash | null => {
    if (of === 1) return leaf
    const half = halfOf(of)
    const beside = left.pop()
    const below = at < half ? climb(at, half) : climb(at - half, of - half)
    if (!beside || !below) return null
    return at < half ? nodeHash(below, beside) : nodeHash(beside, below)
  }
  const root = climb(index, size)
  return left.length === 0 ? root : null
}

export type Tree = {size: number; root: Hash}

/** Whether the path proves that `second` begins with all of `first`. */
export const isConsistent = (first: Tree, second: Tree, path: readonly Hash[]): boolean => {
  if (first.size < 1 || first.size > second.size) return false
  const left = [...path]
  const climb = (earlier: number, of: number, isWhole: boolean): [Hash, Hash] | null => {
    if (earlier === of) {
      const both = isWhole ? first.root : left.pop()
      return both ? [both, both] : null
    }
    const half = halfOf(of)
    const beside = left.pop()
    const below = earlier <= half ? climb(earlier, half, isWhole) : climb(earlier - half, of - half, false)
    if (!beside || !below) return null
    return earlier <= half
      ? [below[0], nodeHash(below[1], beside)]
      : [nodeHash(beside, below[0]), nodeHash(beside, below[1])]
  }
  const roots = climb(first.size, second.size, true)
  return roots !== null && left.length === 0 && roots[0].equals(first.root) && roots[1].equals(second.root)
}

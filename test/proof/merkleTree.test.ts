import fc from 'fast-check'
import {describe, expect, it} from 'vitest'
import {
  consistencyPath,
  emptyRoot,
  growingRoot,
  type Hash,
  inclusionPath,
  isConsistent,
  leafHash,
  nodeHash,
  rootByInclusion,
  rootOf,
  rootOfRange,
  type Subtree,
} from '../../src/proof/merkleTree.ts'

/** The vectors of the Certificate Transparency project for RFC 6962: eight entries, the roots over the first 1 to 8. */
const ENTRIES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
const INCLUSIONS: [leaf: number, size: number, path: string[]][] = [
  [0, 1, []],
  [
    0,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    5,
    8,
    [
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [2, 3, ['fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125']],
  [
    1,
    5,
    [
      '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  ],
]
const CONSISTENCIES: [first: number, second: number, path: string[]][] = [
  [1, 1, []],
  [
    1,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    6,
    8,
    [
      '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [
    2,
    5,
    [
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  ],
]

const hex = (hashes: Hash[]) => hashes.map((hash) => hash.toString('hex'))
const leaves = ENTRIES.map((entry) => leafHash(Buffer.from(entry, 'hex')))
const subtreeOf =
  (all: Hash[]): Subtree =>
  async (level, index) =>
    rootOf(all.slice(index * 2 ** level, (index + 1) * 2 ** level))

/** As the RFC defines it, word by word. */
const mth = (all: Hash[]): Hash => {
  if (all.length === 0) return emptyRoot()
  if (all.length === 1) return all[0]!
  let k = 1
  while (k * 2 < all.length) k *= 2
  return nodeHash(mth(all.slice(0, k)), mth(all.slice(k)))
}

const many = Array.from({length: 1100}, (_, n) => leafHash(Buffer.from(String(n))))

describe('the Merkle tree', () => {
  it('gives the roots of the vectors of RFC 6962', async () => {
    expect(emptyRoot().toString('hex')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
    for (let size = 1; size <= 8; size++) {
      expect(rootOf(leaves.slice(0, size)).toString('hex')).toBe(ROOTS[size - 1])
      expect((await rootOfRange(0, size, subtreeOf(leaves))).toString('hex')).toBe(ROOTS[size - 1])
    }
  })

  it.each(INCLUSIONS)('proves leaf %i of %i as the vectors do', async (leaf, size, path) => {
    expect(hex(await inclusionPath(leaf, size, subtreeOf(leaves)))).toEqual(path)
  })

  it.each(CONSISTENCIES)('proves that %i leaves begin %i as the vectors do', async (first, second, path) => {
    expect(hex(await consistencyPath(first, second, subtreeOf(leaves)))).toEqual(path)
  })

  it('is what the RFC defines, of any size', () => {
    const growing = growingRoot()
    for (const [size, leaf] of many.entries()) {
      if (size < 300 || size > 1000) expect(growing.root()).toEqual(mth(many.slice(0, size)))
      growing.add(leaf)
    }
  })

  it('proves each leaf of each size, and nothing by another path, leaf, index or size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({min: 1, max: 1100}).chain((size) => fc.tuple(fc.constant(size), fc.nat(size - 1), fc.nat())),
        async ([size, index, chance]) => {
          const root = mth(many.slice(0, size))
          const path = await inclusionPath(index, size, subtreeOf(many))
          expect(rootByInclusion(many[index]!, index, size, path)).toEqual(root)
          expect(rootByInclusion(many[(index + 1) % 1100]!, index, size, path)).not.toEqual(root)
          expect(rootByInclusion(many[index]!, index, size, [...path, root])).toBeNull()
          if (path.length === 0) return
          expect(rootByInclusion(many[index]!, index ^ 1, size, path)).not.toEqual(root)
          const wrong = path.with(chance % path.length, many[0]!.map((byte) => byte ^ 1) as Hash)
          expect(rootByInclusion(many[index]!, index, size, wrong)).not.toEqual(root)
          expect(rootByInclusion(many[index]!, index, size, path.slice(1))).not.toEqual(root)
        },
      ),
    )
  })

  it('proves that a tree begins with each smaller one, and not with any other', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({min: 1, max: 1100}).chain((size) => fc.tuple(fc.integer({min: 1, max: size}), fc.constant(size))),
        async ([first, second]) => {
          const path = await consistencyPath(first, second, subtreeOf(many))
          const tree = (size: number, all = many) => ({size, root: mth(all.slice(0, size))})
          const changed = many.with(first - 1, many[0]!.map((byte) => byte ^ 1) as Hash)
          expect(isConsistent(tree(first), tree(second), path)).toBe(true)
          expect(isConsistent(tree(first, changed), tree(second), path)).toBe(false)
          expect(isConsistent(tree(first), tree(second, changed), path)).toBe(false)
          expect(isConsistent(tree(first), tree(second), [...path, many[0]!])).toBe(false)
          if (first < second) expect(isConsistent(tree(second), tree(first), path)).toBe(false)
          if (path.length > 0) expect(isConsistent(tree(first), tree(second), path.slice(1))).toBe(false)
        },
      ),
    )
  })
})

import {execFile} from 'node:child_process'
import {generateKeyPairSync, randomBytes, randomUUID} from 'node:crypto'
import {mkdtemp, readFile, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {promisify} from 'node:util'
import {beforeAll, describe, expect, it} from 'vitest'
import {appendInOrder} from '../../src/log/appendInOrder.ts'
import {cloudEventOf, lineOf} from '../../src/proof/cloudEvent.ts'
import {proveEvent} from '../../src/proof/proveEvent.ts'
import {type Seal, signSeal} from '../../src/proof/seal.ts'
import {sealLog} from '../../src/proof/sealLog.ts'
import {signingKeyOf} from '../../src/proof/signingKey.ts'
import {historyOf, recordsIn} from '../support/history.ts'
import {openPlace} from '../support/place.ts'

const run = promisify(execFile)
const key = signingKeyOf(randomBytes(32))
let dir: string
let lines: string[]
let early: Seal
let seal: Seal
let proofs: object[]

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'community-seal-'))
  const place = await openPlace()
  const {pool, log, logIdentity: identity} = place
  const sealIt = (earlier: Seal | null) => sealLog({pool, log, identity, key, earlier})
  await appendInOrder(log, historyOf(290))
  early = await sealIt(null)
  await appendInOrder(log, historyOf(310, 290))
  seal = await sealIt(early)
  await appendInOrder(log, historyOf(5, 600))
  lines = (await recordsIn(log)).map((record) => lineOf(cloudEventOf(record, identity)))
  proofs = await Promise.all(
    [1n, 77n, 601n].map(async (position) => {
      const {record, ...proof} = (await proveEvent({pool, log, seal, event: {position}}))!
      return {event: cloudEventOf(record, identity), ...proof, seal}
    }),
  )
  await place.close()
})

const written = async (content: object | string): Promise<string> => {
  const file = join(dir, randomUUID())
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content))
  return file
}

/** What it prints, and its exit status. */
const verifySeal = async (of: object | string, more: {[option: string]: object | string} = {}) => {
  const args = ['examples/verifySeal.ts', await written(of)]
  for (const [option, content] of Object.entries(more))
    args.push(`--${option}`, option === 'key' ? String(content) : await written(content))
  const {status, stdout} = await run(process.execPath, args).then(
    (done) => ({...done, status: 0}),
    (failed) => ({stdout: failed.stdout as string, status: failed.code as number}),
  )
  expect(stdout).toMatch(status === 0 ? /^yes\n$/m : /^no\n$/m)
  return {status, stdout}
}

const yes = {status: 0}
const no = (reason: string) => ({status: 1, stdout: expect.stringContaining(reason)})
const file = (changed: string[]) => `${changed.join('\n')}\n`
const altered = (index: number, change: object) =>
  file(lines.with(index, JSON.stringify({...JSON.parse(lines[index]!), ...change})))

/** What follows from what is sealed, said otherwise. */
const unsealed = [
  {time: '1999-01-01T00:00:00.000Z'},
  {time: undefined},
  {source: `urn:uuid:${randomUUID()}`},
  {metadata: `${JSON.stringify({time: '1999-01-01T00:00:00.000Z'}).slice(0, -1)},"time":"2023-11-14T22:13:20.299Z"}`},
  {extra: 'x'},
]

describe('examples/verifySeal.ts', () => {
  it('has at most 200 lines, and none of this project', async () => {
    const text = await readFile('examples/verifySeal.ts', 'utf8')
    expect(text.split('\n').length).toBeLessThanOrEqual(201)
    for (const [, from] of text.matchAll(/from '(.*)'/g)) expect(from).toMatch(/^node:/)
  })

  it('says yes to an export and its seal, with the earlier one, proofs and the key', async () => {
    expect(await verifySeal(seal)).toMatchObject(yes)
    expect(await verifySeal(seal, {export: file(lines), earlier: early, key: key.publicKey})).toMatchObject(yes)
    expect(await verifySeal(early, {export: file(lines.slice(0, early.size))})).toMatchObject(yes)
    expect(await verifySeal(seal, {earlier: early})).toMatchObject(yes)
    for (const proof of proofs) expect(await verifySeal(seal, {proof})).toMatchObject(yes)
  })

  it('says no to an export with an event changed, removed, put in or moved', async () => {
    const other = lines[400]!
    for (const changed of [
      altered(0, {revision: 1}),
      altered(300, {data: {n: 1}}),
      altered(300, {metadata: '{}'}),
      altered(300, {subject: 's-9'}),
      altered(300, {type: 'Other'}),
      altered(600, {id: randomUUID()}),
      ...unsealed.map((change) => altered(300, change)),
      file(lines.toSpliced(300, 1)),
      file(lines.toSpliced(300, 0, other)),
      file(lines.toSpliced(300, 2, lines[301]!, lines[300]!)),
    ])
      expect(await verifySeal(seal, {export: changed})).toMatchObject(no('is not what was sealed'))
    expect(await verifySeal(seal, {export: file(lines.slice(0, 600))})).toMatchObject(no('fewer events'))
    expect(await verifySeal(seal, {export: file(lines.slice(1))})).toMatchObject(no('of another log'))
    expect(await verifySeal(seal, {export: file(lines).slice(0, 20_000)})).toMatchObject({status: 1})
    expect(await verifySeal(seal, {export: altered(602, {data: {}})})).toMatchObject(yes)
  })

  it('says no to a seal that was changed, cut off, or signed by somebody else', async () => {
    const {signature, publicKey, format, ...unsigned} = seal
    for (const change of [
      {size: 600},
      {root: early.root},
      {time: early.time},
      {extends: undefined},
      {signature: early.signature},
    ])
      expect(await verifySeal({...seal, ...change})).toMatchObject(no('was changed'))
    expect(await verifySeal(JSON.stringify(seal).slice(0, 300))).toMatchObject(no("can't be read as JSON"))
    const others = signingKeyOf(randomBytes(32))
    const forged = signSeal(unsigned, others)
    expect(await verifySeal(forged, {key: publicKey})).toMatchObject(no('another key than yours'))
    expect(await verifySeal(forged, {earlier: early})).toMatchObject(no('another key than yours'))
    const p256 = generateKeyPairSync('ec', {namedCurve: 'P-256'}).publicKey.export({format: 'der', type: 'spki'})
    expect(await verifySeal({...seal, publicKey: p256.toString('base64')})).toMatchObject(no('not signed with Ed25519'))
    const lying = signSeal({...unsigned, extends: {...seal.extends!, root: '0'.repeat(64)}}, key)
    expect(await verifySeal(lying)).toMatchObject(no('does not extend'))
  })

  it('says no to a proof of another event, place or seal', async () => {
    const proof = proofs[1] as {event: object; index: number; path: string[]}
    for (const change of [
      {event: JSON.parse(lines[5]!)},
      {event: {...proof.event, data: {}}},
      {index: 75},
      {path: proof.path.with(2, '0'.repeat(64))},
      {path: proof.path.slice(1)},
      {path: [...proof.path, proof.path[0]!]},
      {index: 601},
      ...unsealed.map((change) => ({event: {...proof.event, ...change}})),
    ])
      expect(await verifySeal(seal, {proof: {...proof, ...change}})).toMatchObject({status: 1})
    expect(await verifySeal(early, {proof})).toMatchObject({status: 1})
  })
})

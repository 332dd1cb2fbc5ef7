import {readFile} from 'node:fs/promises'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {serverVersionOf} from '../../log/eventStoreDbCalls.ts'
import {type Finding, ok, problem, warning} from './finding.ts'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

type Package = {version: string; dependencies: {[name: string]: string}}
const read = async (folder: string): Promise<Package> =>
  JSON.parse(await readFile(join(ROOT, folder, 'package.json'), 'utf8'))

/** Node, this server, and whether the packages beside it are those that it was made with. */
export const checkVersions = async (): Promise<Finding[]> => {
  const {version, dependencies} = await read('.')
  const wrong: string[] = []
  for (const [name, wanted] of Object.entries(dependencies)) {
    const installed = await read(join('node_modules', name)).then(
      (one) => one.version,
      () => 'missing',
    )
    if (installed !== wanted) wrong.push(`${name} (${installed}, not ${wanted})`)
  }
  return [
    ok(`This server is ${version}, and runs on Node ${process.versions.node}.`),
    wrong.length === 0
      ? ok('Its packages are the ones that package.json names.')
      : problem(`Packages are not the ones that package.json names: ${wrong.join(', ')}.`, 'Run: npm ci'),
  ]
}

/** The release that the adapter was tried with; others speak the same protocol as far as is known. */
const TRIED = '23.10'

export const checkEventStoreDb = async (url: string): Promise<Finding[]> => {
  const version = await serverVersionOf(url)
  const text = `EventStoreDB is ${version}.`
  return [
    version.startsWith(`${TRIED}.`)
      ? ok(text)
      : warning(
          text,
          `This server was tried with ${TRIED} alone; run its tests against yours: EVENTSTORE_URL=… npm test`,
        ),
  ]
}

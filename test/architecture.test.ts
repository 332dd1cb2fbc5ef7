import {readdirSync, readFileSync} from 'node:fs'
import {basename, dirname, join, normalize} from 'node:path'
import {describe, expect, it} from 'vitest'

const ROOT = join(import.meta.dirname, '..')

/** What each folder of src/ may import beside itself. What belongs to no folder stands by its file's name. */
const MAY_IMPORT: {readonly [room: string]: readonly string[]} = {
  domain: [],
  config: [],
  database: [],
  keys: ['domain', 'config'],
  mail: ['keys', 'config'],
  uploads: ['domain', 'config'],
  oauth: ['domain', 'mail', 'config'],
  log: ['domain', 'keys', 'database'],
  streams: ['domain', 'log'],
  metrics: ['log'],
  proof: ['log'],
  commands: ['domain', 'streams', 'log', 'keys', 'mail', 'uploads'],
  projections: ['domain', 'log', 'database'],
  edge: [
    'domain',
    'commands',
    'projections',
    'streams',
    'log',
    'keys',
    'mail',
    'uploads',
    'metrics',
    'database',
    'config',
  ],
  http: [
    'domain',
    'commands',
    'projections',
    'edge',
    'streams',
    'log',
    'keys',
    'mail',
    'uploads',
    'oauth',
    'metrics',
    'config',
  ],
  realtime: ['domain', 'commands', 'projections', 'edge', 'streams', 'log', 'keys', 'database', 'config'],
}
const ALL = Object.keys(MAY_IMPORT)
const BELOW_THE_EDGES = ALL.filter((room) => room !== 'http' && room !== 'realtime')
const RULES: typeof MAY_IMPORT = {
  ...MAY_IMPORT,
  foundation: BELOW_THE_EDGES,
  feed: [...BELOW_THE_EDGES, 'foundation'],
  operations: [...BELOW_THE_EDGES, 'foundation', 'feed'],
  app: [...ALL, 'foundation', 'feed', 'operations'],
  main: ['app', 'operations', 'config'],
}

type Import = {specifier: string; isType: boolean}
type Source = {path: string; room: string; name: string; text: string; imports: Import[]}

const filesIn = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), {withFileTypes: true, recursive: true})
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1))
    .sort()

const withoutComments = (text: string): string => text.replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, '')

const importsIn = (text: string): Import[] => {
  const found: Import[] = []
  const statements =
    /^(?:import\s+(type\s+)?(?:([^'"();]*?)\s+from\s+)?|export\s+(type\s+)?([^'"();=]*?)\s+from\s+)'([^']+)'/gm
  for (const [, type, imported, exportedType, exported, specifier] of text.matchAll(statements)) {
    const names = imported ?? exported ?? ''
    const inBraces =
      /^\{([^}]*)\}\s*$/
        .exec(names)?.[1]
        ?.split(',')
        .map((name) => name.trim()) ?? []
    const onlyTypes = inBraces.length > 0 && inBraces.every((name) => name === '' || name.startsWith('type '))
    found.push({specifier: specifier!, isType: (type ?? exportedType) !== undefined || onlyTypes})
  }
  for (const [, specifier] of text.matchAll(/\bimport\('([^']+)'\)/g))
    found.push({specifier: specifier!, isType: false})
  return found
}

const roomOf = (path: string): string => {
  const [, first = '', ...rest] = path.split('/')
  return rest.length > 0 ? first : first.replace(/\.ts$/, '')
}

const read = (path: string): Source => {
  const text = withoutComments(readFileSync(join(ROOT, path), 'utf8'))
  return {path, room: roomOf(path), name: basename(path, '.ts'), text, imports: importsIn(text)}
}

const sources = filesIn('src')
  .filter((path) => path.endsWith('.ts'))
  .map(read)
const tests = filesIn('test')
  .filter((path) => path.endsWith('.ts'))
  .map(read)
const code = sources.filter(({path}) => !path.endsWith('.d.ts'))
const targetOf = (source: Source, {specifier}: Import): string | null =>
  specifier.startsWith('.') ? normalize(join(dirname(source.path), specifier)) : null

/** The lines that break a rule; a test expects none. */
const broken = <T>(items: readonly T[], breaks: (item: T) => string | null | false): string[] =>
  items.map(breaks).filter((line): line is string => typeof line === 'string')

describe('the rooms of the house', () => {
  it('are all known, and none is known that is not there', () => {
    expect([...new Set(sources.map(({room}) => room))].sort()).toEqual(Object.keys(RULES).sort())
  })

  it.each(Object.keys(RULES))('%s imports only what it may', (room) => {
    const allowed = new Set([...RULES[room]!, room])
    const wrong = sources
      .filter((source) => source.room === room)
      .flatMap((source) =>
        broken(source.imports, (one) => {
          const target = targetOf(source, one)
          return target !== null && !allowed.has(roomOf(target)) && `${source.path} imports ${target}`
        }),
      )
    expect(wrong).toEqual([])
  })

  it('domain is pure: of what is not ours it imports zod alone, and asks neither clock nor chance', () => {
    for (const {path, text, imports} of sources.filter(({room}) => room === 'domain')) {
      const foreign = imports.map(({specifier}) => specifier).filter((specifier) => !specifier.startsWith('.'))
      expect([path, foreign.filter((specifier) => specifier !== 'zod')]).toEqual([path, []])
      expect([path, /new Date\(\)|Date\.now|Math\.random|randomUUID|process\.|performance/.test(text)]).toEqual([
        path,
        false,
      ])
    }
  })

  it('every import within bears its .ts, and is a file', () => {
    const paths = new Set(sources.map(({path}) => path))
    const wrong = sources.flatMap((source) =>
      broken(source.imports, (one) => {
        const target = targetOf(source, one)
        return target !== null && !paths.has(target) && `${source.path} imports ${target}`
      }),
    )
    expect(wrong).toEqual([])
  })

  it('no file needs itself to be loaded, over however many others', () => {
    const needs = new Map(
      sources.map((source) => [
        source.path,
        source.imports.filter(({isType}) => !isType).flatMap((one) => targetOf(source, one) ?? []),
      ]),
    )
    const circles: string[] = []
    const done = new Set<string>()
    const walk = (path: string, way: string[]): void => {
      if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(' → '))
      if (way.includes(path) || done.has(path)) return
      for (const next of needs.get(path) ?? []) walk(next, [...way, path])
      done.add(path)
    }
    for (const path of needs.keys()) walk(path, [])
    expect(circles).toEqual([])
  })

  it('the environment is read in config.ts; who starts hands it over whole', () => {
    const wrong = broken(code, ({path, text}) => {
      const rest = ['main', 'operations'].includes(roomOf(path)) ? text.replaceAll('readConfig(process.env)', '') : text
      return path !== 'src/config.ts' && /process\.env|\benv\b.*from 'node:process'/.test(rest) && path
    })
    expect(wrong).toEqual([])
  })

  it('HTTP statuses of errors stand in one file', () => {
    const wrong = broken(
      code,
      ({path, text}) => path !== 'src/http/statuses.ts' && /\.status\((4|5)\d\d\)/.test(text) && path,
    )
    expect(wrong).toEqual([])
  })
})

describe('names', () => {
  const everything = [...code, ...tests.filter(({path}) => !path.endsWith('.d.ts'))]

  it('files are camelCase', () => {
    const wrong = broken(
      everything,
      ({path}) => !/^[a-z][a-zA-Z0-9]*(\.test|\.config)?\.ts$/.test(basename(path)) && path,
    )
    expect(wrong).toEqual([])
  })

  it('nothing is called for being something or other', () => {
    const vague = /^(utils?|helpers?|services?|managers?|lib|common|misc|index)$/i
    const words = (name: string) => name.split(/(?=[A-Z])|[./_-]/)
    expect(
      broken(
        everything,
        ({path}) => path.split('/').some((part) => words(part).some((word) => vague.test(word))) && path,
      ),
    ).toEqual([])
    const exported = /^export (?:const|function|class|type|interface|async function) (\w+)/gm
    const wrong = code.flatMap(({path, text}) =>
      broken(
        [...text.matchAll(exported)],
        ([, name]) => words(name!).some((word) => vague.test(word)) && `${path}: ${name}`,
      ),
    )
    expect(wrong).toEqual([])
  })

  it('nothing is exported by default, or passed on from another file', () => {
    const wrong = broken(
      code,
      ({path, text}) => /^export default|^export (type )?(\*|\{[^}]*\}) from/m.test(text) && path,
    )
    expect(wrong).toEqual([])
  })

  it('a class is an error, or what a library wants to be extended', () => {
    const wrong = broken(code, ({path, text}) => /\bclass \w+ (?!extends )/.test(text) && path)
    expect(wrong).toEqual([])
  })

  it('nothing needs a build: no enum, no namespace, no parameter property', () => {
    const wrong = broken(code, ({path, text}) =>
      /^(export )?(declare )?(const )?(enum|namespace) /m.test(text) ||
      /constructor\([^)]*\b(private|public|protected|readonly) /.test(text)
        ? path
        : null,
    )
    expect(wrong).toEqual([])
  })

  it('tests stand as the sources do, or elsewhere where they are no one file’s', () => {
    const own = ['browser', 'bench', 'contract', 'examples', 'faults', 'fuzz', 'model', 'process', 'support']
    const rooms = new Set([...Object.keys(RULES), ...own])
    const folders = new Set(tests.map(({path}) => dirname(path).split('/')[1] ?? 'support'))
    const wrong = [...folders].filter((folder) => !rooms.has(folder))
    expect(wrong).toEqual([])
  })
})

describe('commands', () => {
  const commands = code.filter(({room, name}) => room === 'commands' && name !== 'execute')
  const edges = code.filter(({room}) => ['http', 'realtime', 'operations'].includes(room))
  const names = new Set(commands.map(({name}) => name))
  const calls = (text: string): string[] => [...names].filter((name) => new RegExp(`\\b${name}\\(`).test(text))

  it.each(commands.map(({name}) => [name]))(
    '%s is a function, tested under its name, and somebody can give the command',
    (name) => {
      const command = commands.find((one) => one.name === name)!
      expect(command.text).toMatch(new RegExp(`^export const ${name} = (async )?[(<]`, 'm'))
      const users = edges.filter(
        (source) =>
          source.imports.some((one) => targetOf(source, one) === command.path) && calls(source.text).includes(name),
      )
      expect(users.map(({path}) => path)).not.toEqual([])
      const test = tests.find(({path}) => path === `test/commands/${name}.test.ts`)
      expect(test?.text ?? 'no test').toMatch(new RegExp(`^describe\\('${name}'`, 'm'))
    },
  )

  it('a route that runs a command bears its name, but for those that are made once a provider', () => {
    const routes = code
      .filter(({room}) => room === 'http')
      .flatMap(({text}) => text.split(/\broute\(\{/).slice(1))
      .map((text) => ({id: /operationId: '(\w+)'/.exec(text)?.[1], runs: calls(text)}))
    expect(routes.length).toBeGreaterThan(10)
    expect(
      broken(routes, ({id, runs}) => id !== undefined && runs.length > 0 && !runs.includes(id) && `${id} runs ${runs}`),
    ).toEqual([])
  })
})

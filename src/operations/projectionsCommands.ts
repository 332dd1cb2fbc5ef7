import {randomUUID} from 'node:crypto'
import {Command} from 'commander'
import {readGenerations} from '../projections/generations.ts'
import {tables} from '../projections/tables.ts'
import {columns, type Report, reports, withFeed, withOperator} from './operator.ts'
import {type Rebuilt, rebuild, rollback, tablesNamed, verify} from './rebuild.ts'
import {writeDown} from './writeDown.ts'

const example = (line: string): string => `\nExample:\n  npm run -s community -- ${line}`

export const projectionsCommands = (): Command => {
  const projections = new Command('projections').description('the read tables')
  reports(
    projections
      .command('list')
      .description("each read table's version, generation, position, lag and state")
      .addHelpText('after', example('projections list')),
    list,
  )
  reports(
    projections
      .command('rebuild [names...]')
      .description('build a new generation beside the live one, compare, and switch')
      .option('--all', 'every read table')
      .addHelpText('after', example('projections rebuild posts')),
    (names: string[], {all = false}: {all?: boolean}) => rebuildNamed(names, all),
  )
  reports(
    projections
      .command('verify')
      .description('fold the log afresh and prove that each live table equals it, row by row')
      .addHelpText('after', example('projections verify --json')),
    verifyAll,
  )
  reports(
    projections
      .command('rollback <name>')
      .description('switch back to the generation that was live before')
      .addHelpText('after', example('projections rollback posts')),
    rollbackNamed,
  )
  return projections
}

const list = (): Promise<Report> =>
  withOperator(async ({pool, log}) => {
    const generations = await readGenerations(pool, tables)
    // After them: what they hold is in it.
    const head = await log.head()
    const json = generations.map(({table, generation, state, position, fault, because}) => ({
      name: table.name,
      version: table.version,
      generation,
      state: fault === null ? state : 'stopped',
      position: position?.toString() ?? null,
      lag: head === null ? '0' : (head - (position ?? 0n)).toString(),
      fault: fault ?? because,
    }))
    const rows = json.map(({name, version, generation, state, position, lag, fault}) => [
      name,
      String(version),
      String(generation),
      state,
      position ?? '-',
      lag,
      fault ?? '',
    ])
    return {
      json: {head: head?.toString() ?? null, projections: json},
      text: columns([['name', 'version', 'generation', 'state', 'position', 'lag', ''], ...rows]),
    }
  })

const rebuildNamed = (names: string[], all: boolean): Promise<Report> => {
  const wanted = tablesNamed(names, all)
  return withFeed(async (operator) => {
    const results: Rebuilt[] = []
    const context = {name: 'rebuildProjections', correlationId: randomUUID()}
    for await (const rebuilt of rebuild(operator, wanted)) {
      results.push(rebuilt)
      if ('fault' in rebuilt) continue
      const {name: projection, generation, rows, differing} = rebuilt
      const {version} = wanted.find(({name}) => name === projection)!
      const data = {projection, version, generation, rows, differing}
      await writeDown(operator, {type: 'ProjectionRebuilt', data}, context)
    }
    return reportOf(results, ({name, generation, rows, differing, note}) =>
      note !== undefined
        ? `${name}: generation ${generation} is live; ${note}.`
        : differing === 0
          ? `${name}: generation ${generation} is live, ${rows} rows, the same as before.`
          : `${name}: generation ${generation} is live, ${rows} rows; ${differing} were not what the log says, and are now.`,
    )
  })
}

const verifyAll = (): Promise<Report> =>
  withFeed(async (operator) => {
    const results: Rebuilt[] = []
    for await (const verified of verify(operator, tables)) results.push(verified)
    const report = reportOf(results, ({name, rows, differing, differences}) =>
      differing === 0
        ? `${name}: ${rows} rows, all as the log says.`
        : [
            `${name}: ${differing} of ${rows} rows are not as the log says:`,
            ...differences.map(({key, difference}) => `  ${difference}: ${Object.values(key).join(' ')}`),
          ].join('\n'),
    )
    const differs = results.some((result) => 'differing' in result && result.differing > 0)
    return {...report, failed: report.failed === true || differs}
  })

const rollbackNamed = (name: string): Promise<Report> => {
  const [table] = tablesNamed([name], false)
  return withFeed(async (operator) => {
    const generation = await rollback(operator, table!)
    if (generation === null)
      return {json: {ok: false, name}, text: `${name}: there is no earlier generation.`, failed: true}
    const data = {projection: name, version: table!.version, generation}
    const context = {name: 'rollBackProjection', correlationId: randomUUID()}
    await writeDown(operator, {type: 'ProjectionRolledBack', data}, context)
    return {json: {ok: true, name, generation}, text: `${name}: generation ${generation} is live again.`}
  })
}

const reportOf = (results: Rebuilt[], tell: (result: Exclude<Rebuilt, {fault: string}>) => string): Report => ({
  json: results,
  text: results.map((one) => ('fault' in one ? `${one.name}: stopped at ${one.fault}` : tell(one))).join('\n'),
  failed: results.some((one) => 'fault' in one),
})

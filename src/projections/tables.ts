import {readdir} from 'node:fs/promises'
import {isReadTable, type ReadTable} from './readTable.ts'

/**
 * Whatever a file of this folder exports that `readTable` made: a new table is a new file, and nothing else here knows of
 * it. Throws, with the file's name, where one can't be used.
 */
const loadTables = async (): Promise<ReadTable[]> => {
  const found: ReadTable[] = []
  for (const file of (await readdir(import.meta.dirname)).sort()) {
    // This one would wait for itself.
    if (!/^\w+\.ts$/.test(file) || file === 'tables.ts') continue
    const path = `./${file}`
    try {
      for (const exported of Object.values(await import(path))) {
        if (!isReadTable(exported)) continue
        const same = found.find(({name}) => name === exported.name)
        if (same) throw new Error(`there is a read table ${exported.name} already`)
        found.push(exported)
      }
    } catch (error) {
      throw new Error(`src/projections/${file} can't be used: ${error instanceof Error ? error.message : error}`)
    }
  }
  return found
}

/** Every read table there is. */
export const tables: readonly ReadTable[] = await loadTables()

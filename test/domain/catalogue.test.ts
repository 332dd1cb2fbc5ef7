import {readdir} from 'node:fs/promises'
import {describe, expect, it} from 'vitest'
import type {z} from 'zod'
import {catalogue} from '../../src/domain/catalogue.ts'
import type {EventType} from '../../src/domain/event.ts'

type Definition = {type: string; innerType?: z.ZodType; element?: z.ZodType; in?: z.ZodType; shape?: object}

/** Whether a value of this schema may hold text, however deep. A kind of schema that is not known here is a fault. */
const holdsText = (schema: z.ZodType): boolean => {
  const {type, innerType, element, in: input, shape} = schema.def as unknown as Definition
  switch (type) {
    case 'string':
    case 'enum':
    case 'literal':
      return true
    case 'number':
    case 'boolean':
    case 'null':
      return false
    case 'nullable':
    case 'optional':
    case 'default':
    case 'readonly':
      return holdsText(innerType!)
    case 'array':
      return holdsText(element!)
    case 'pipe':
      return holdsText(input!)
    case 'object':
      return Object.values(shape!).some(holdsText)
    default:
      throw new Error(`whether a ${type} holds text is not known`)
  }
}

const isEventType = (value: unknown): value is EventType =>
  typeof value === 'object' && value !== null && 'personal' in value && 'plain' in value && 'upcast' in value

describe('catalogue', () => {
  it('knows every event type that the domain declares, under its own name', async () => {
    const declared: string[] = []
    const folder = new URL('../../src/domain/', import.meta.url)
    for (const file of await readdir(folder)) {
      const exports = await import(/* @vite-ignore */ new URL(file, folder).pathname)
      for (const [name, value] of Object.entries(exports)) {
        if (!isEventType(value)) continue
        expect(name).toBe(value.type)
        expect(catalogue.get(name)).toBe(value)
        declared.push(name)
      }
    }
    expect([...catalogue.keys()].sort()).toEqual(declared.sort())
  })

  describe.each([...catalogue])('%s', (_, {data, personal, plain, version}) => {
    const fields = Object.keys(data.shape)
    const text = fields.filter((field) => holdsText(data.shape[field] as z.ZodType))
    const declared = [...Object.values(personal).flat(), ...plain]

    it('declares each field that holds text once: personal, or plain', () => {
      expect(text.filter((field) => !declared.includes(field))).toEqual([])
      expect(declared.filter((field, index) => declared.indexOf(field) !== index)).toEqual([])
    })

    it('declares no field that it does not have', () => {
      expect(declared.filter((field) => !fields.includes(field))).toEqual([])
    })

    it('names whose each personal field is, by a plain field that bears the id', () => {
      for (const [subject, about] of Object.entries(personal)) {
        expect(about.length).toBeGreaterThan(0)
        expect(plain).toContain(subject)
        expect((data.shape[subject] as z.ZodType).def.type).toBe('string')
      }
    })

    it('has a version from 1 on', () => {
      expect(Number.isInteger(version) && version >= 1).toBe(true)
    })
  })
})
